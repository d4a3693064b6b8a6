"""Templates rendered for code on the event loop: in a process of their own, that a loop without end cannot outlive.

`python -m service.catalogue.text.rendering` reads one `Request` as JSON and writes one answer.
"""

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.catalogue.text.template import compiled
from service.processors.base import Fail

LIMIT_S = 10.0
CPU_LIMIT_S = 5
MEMORY_LIMIT_BYTES = 512 * 1024**2
MAX_CHARS = 5_000_000
_MARKS = ("{{", "{%", "{#")
_ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class TemplateText:
    """A template; in `html`, values are escaped."""

    source: str
    html: bool = False


async def rendered(templates: Mapping[str, TemplateText], data: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the templates, by the same names.

    Raises:
        Fail: a template is not valid, reaches for what is closed to it, or takes too long.
    """
    if not any(mark in one.source for one in templates.values() for mark in _MARKS):
        return {name: one.source for name, one in templates.items()}
    request = {"templates": {name: asdict(one) for name, one in templates.items()}, "data": data}
    answer = await _answer(json.dumps(request).encode())
    if "code" in answer:
        raise Fail(answer["message"], code=answer["code"])
    texts: dict[str, str] = answer["texts"]
    return texts


async def _answer(request: bytes) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "service.catalogue.text.rendering"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": _ROOT, "PATH": os.defpath},  # no secrets of the server
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate(request)
    except TimeoutError:
        raise _too_much() from None
    finally:
        await asyncio.shield(_end(process))
    if process.returncode != 0:
        raise _too_much()
    answer: dict[str, Any] = json.loads(output)
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _too_much() -> Fail:
    message = f"the template takes too long or too much memory: it has {CPU_LIMIT_S} s; look for a loop in it"
    return Fail(message, code="template_too_costly")


# ---- in the process


def main() -> None:
    """Answer one request."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        templates = {name: TemplateText(**one) for name, one in request["templates"].items()}
        answer = {"texts": {name: _text(name, one, request["data"]) for name, one in templates.items()}}
    except Fail as fail:
        answer = {"code": fail.code, "message": str(fail)}
    json.dump(answer, sys.stdout)


def _text(name: str, template: TemplateText, data: dict[str, Any]) -> str:
    pieces, size = [], 0
    for piece in compiled(template.source, name=name, html=template.html).pieces(data):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_CHARS:
            raise Fail(f"the {name} has more than {MAX_CHARS:,} characters; shorten it", code="too_large")
    return "".join(pieces)


if __name__ == "__main__":
    main()
