"""Processors for the tests of the API, loaded by path as a user's own file is."""

import asyncio
from typing import Annotated, Any, Literal

from pydantic import Field

from service import Fail, JobContext, processor


class Gate:
    """Holds `t.hold` until a test opens it; each service has its own, for each loads this file anew."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()


gate = Gate()


@processor("t.hold", min_files=0)
async def hold(_job: JobContext) -> str:
    """Run until the test opens the gate."""
    gate.reached.set()
    await gate.opened.wait()
    return "let go"


@processor("t.fail", min_files=0)
async def fail(_job: JobContext) -> None:
    """Fail."""
    raise Fail("it cannot be done", code="impossible")


@processor("t.raise", min_files=0)
async def raise_at_length(_job: JobContext) -> None:
    """Raise what has much to say."""
    raise ValueError("x" * 5000)


@processor("t.read", min_files=0)
async def read(job: JobContext) -> list[Any]:
    """Say which files came."""
    return [[file.name, file.size_bytes, file.path.read_bytes()[:100].decode("latin-1")] for file in job.files]


@processor("t.photos", accepts=["image/*"], max_files=2)
async def photos(job: JobContext) -> list[str]:
    """Take one or two images."""
    return [file.media_type for file in job.files]


@processor("t.form", min_files=0, max_files=0)
async def form(
    _job: JobContext,
    *,
    width: Annotated[int, Field(ge=1, le=100)],
    ratio: float = 1.0,
    mode: Literal["fit", "fill"] = "fit",
    tags: list[str] | None = None,
) -> dict[str, Any]:
    """Return its params."""
    return {"width": width, "ratio": ratio, "mode": mode, "tags": tags}


@processor("t.echo", min_files=0, max_files=0)
async def echo(_job: JobContext, value: Any = None) -> Any:
    """Return its only param."""
    return value


@processor("t.echo_in_child", min_files=0, max_files=0)
def echo_in_child(_job: JobContext, value: Any = None) -> Any:
    """Return its only param, from a child process."""
    return value


@processor("t.deep", min_files=0, max_files=0)
async def deep(_job: JobContext, levels: int) -> Any:
    """Return lists within lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@processor("t.write", min_files=0)
async def write(job: JobContext, name: str, text: str = "written") -> None:
    """Write one output file."""
    job.output(name).write_text(text)
