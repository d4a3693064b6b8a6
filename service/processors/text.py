"""Processors of text."""

from collections.abc import Iterator
from typing import Annotated

import aiofiles
from pydantic import Field

from service.processors.base import Fail, JobContext, processor

PIECE_BYTES = 1024**2
MAX_BYTES = 10 * 1024**3


@processor("text.write", min_files=0, max_files=0)
async def write(
    job: JobContext,
    *,
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            pattern=r"^[^/\\\x00-\x1f\x7f]+$",
            description="name of the file, without folders",
        ),
    ],
    content: Annotated[str, Field(description="what to write, as UTF-8")],
    repeat: Annotated[int, Field(ge=1, le=1_000_000, description="how many times to write it")] = 1,
) -> dict[str, int]:
    """Write a text file.

    The content is written as often as asked, in pieces, so the size of the file does not show in memory.
    """
    unit = content.encode()
    size_bytes = len(unit) * repeat
    if size_bytes > MAX_BYTES:
        raise Fail(
            f"the file would have {size_bytes:,} bytes, and at most {MAX_BYTES:,} are written",
            code="too_large",
        )
    written_bytes = 0
    async with aiofiles.open(job.output(name), "wb") as file:
        for piece in _pieces(unit, repeat):
            written_bytes += await file.write(piece)
            job.progress(written_bytes / size_bytes)
    lines = content.count("\n") * repeat
    if content and not content.endswith("\n"):
        lines += 1
    return {"size_bytes": size_bytes, "lines": lines}


def _pieces(unit: bytes, repeat: int) -> Iterator[bytes]:
    """Yield `unit` so many times, in pieces of about `PIECE_BYTES`."""
    if not unit:
        return
    at_once = min(repeat, max(1, PIECE_BYTES // len(unit)))
    full, rest = divmod(repeat, at_once)
    piece = unit * at_once
    for _ in range(full):
        yield piece
    if rest:
        yield unit * rest
