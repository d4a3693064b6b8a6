"""Shared memory of an attempt that has ended: with real children, and real segments."""

import asyncio
import re
import secrets
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from service.worker.runner import Broke, Returned
from tests.integration.test_children import Notes, assign, ignore, own_runner, runner

__all__ = ["assign", "own_runner", "runner"]  # fixtures
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm here"),  # noqa: S108
]

FOLDER = Path("/dev/shm")  # noqa: S108
KINDS = ["python", "semaphore", "posix", "system_v"]


def left(names):
    """Return those of the segments that are there."""
    found = [name for name in names if (FOLDER / name).exists()]
    for kind, number in re.findall(r"(shm|msg) (\d+)", " ".join(names)):
        rows = Path("/proc/sysvipc", kind).read_text().splitlines()[1:]
        found += [f"{kind} {number}" for row in rows if row.split()[1] == number]
    return found


@pytest.fixture
def label():
    return f"filemill-test-{secrets.token_hex(6)}"


async def names_in(notes):
    """Return the names that the processor tells; a child may take its time to start."""
    async with asyncio.timeout(60):
        while "running" not in notes.lines:
            await asyncio.sleep(0.01)
    return (await notes.running())["names"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["return", "fork", "raise"])
async def test_an_attempt_that_ends_by_itself_leaves_no_shared_memory(runner, assign, kind, how, label):
    notes = Notes()
    verdict = await runner.run(assign("t.share", kind=kind, label=label, how=how), notes)
    assert isinstance(verdict, Broke if how == "raise" else Returned)
    names = await names_in(notes)
    assert len(names) == 1 + (how == "fork")
    assert left(names) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attempt_that_kills_itself_leaves_no_shared_memory_that_was_seen(runner, assign, kind, label):
    work = assign("t.share", kind=kind, label=label, how="signal", timeout_s=100)
    run = asyncio.create_task(runner.run(work, notes := Notes()))
    names = await names_in(notes)
    (child,) = runner._children
    async with asyncio.timeout(60):
        while len(child._guard.segments._ours) < (2 if kind == "system_v" else 1):
            await asyncio.sleep(0.01)
    (work.folder / "go").touch()
    assert (await run).facts == {"signal": "SIGKILL"}
    assert left(names) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attempt_that_is_stopped_leaves_no_shared_memory(runner, assign, kind, label):
    run = asyncio.create_task(
        runner.run(assign("t.share", kind=kind, label=label, how="hang", timeout_s=100), notes := Notes())
    )
    names = await names_in(notes)
    assert left(names) != []
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert left(names) == []


@pytest.mark.parametrize("kind", ["python", "posix"])
async def test_an_attempt_that_takes_too_long_leaves_no_shared_memory(runner, assign, kind, label):
    await runner.warm()
    verdict = await runner.run(assign("t.share", kind=kind, label=label, how="hang", timeout_s=2), notes := Notes())
    assert verdict.code == "timed_out"
    assert left([label, *(name for note in notes for name in getattr(note, "fields", {}).get("names", []))]) == []


async def test_a_tracker_is_no_process_that_was_left_running_and_the_child_goes_on(own_runner, assign):
    pids = set()
    for _ in range(3):
        await own_runner.run(assign("t.share", kind="semaphore"), notes := Notes())
        assert not [line for line in notes.lines if "left running" in line or "died unexpectedly" in line]
        pids.add((await own_runner.run(assign("t.pid"), ignore)).result["pid"])
    assert len(pids) == 1


async def test_a_fork_server_of_one_attempt_is_not_expected_by_the_next(own_runner, assign):
    for _ in range(2):
        with TemporaryDirectory() as short:  # it makes a socket there, and the path of one is short
            work = replace(assign("t.forkserver"), folder=Path(short))
            assert await own_runner.run(work, ignore) == Returned(0)
