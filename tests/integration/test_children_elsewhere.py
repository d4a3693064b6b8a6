"""Child processes under another event loop, and what can be said of them without running one."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.worker.children import ChildRunner
from service.worker.runner import Returned
from tests.integration.test_children import REGISTRY, ROOT, SPEC, Notes, assign, ignore

__all__ = ["assign"]  # a fixture


def test_the_child_is_light():
    code = "import sys, service.worker.child; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "fastapi",
        "sqlalchemy",
        "sqlmodel",
        "starlette",
        "httpx",
        "pyvips",
        "uvicorn",
        "alembic",
        "rich",
        "structlog",
        "pydantic_settings",
    }
    assert not heavy & set(modules.stdout.split())


def test_children_run_under_uvloop_too(assign):
    uvloop = pytest.importorskip("uvloop")

    async def scenario():
        runner: Any = ChildRunner(1, SPEC)
        one = await runner.run(assign("t.print"), notes := Notes())
        two = await runner.run(assign("t.exit", code=3), ignore)
        three = await runner.run(assign("t.loop", timeout_s=0.2, stubborn=True), ignore)
        await runner.aclose()
        return one, notes.lines, two.facts, three.code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        assert loop.run(scenario()) == (
            Returned("printed"),
            ["line 0 of what is printed"],
            {"exit_code": 3},
            "timed_out",
        )


def test_every_processor_of_these_tests_is_used():
    sources = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    unused = [name for name in REGISTRY if name.startswith("t.") and f'"{name}"' not in sources]
    assert unused == []
