"""Processors that tell a lot about what they do, for those who watch."""

import asyncio
from pathlib import Path

import anyio

from service import JobContext, processor

PAUSE_S = 0.02
HOSTILE = "\x1b[2J\x1b[31m<b>[red]\x07\r\u202e"


@processor("telling.wait", min_files=0)
async def wait(job: JobContext, path: Path, words: str = "halfway") -> int:
    """Say that it has begun and is halfway, and wait for the file; return the number of the attempt."""
    job.log(f"attempt {job.attempt} begins")
    job.progress(0.5, words)
    while not await anyio.Path(path).exists():
        await asyncio.sleep(PAUSE_S)
    job.log("the file is there")
    return job.attempt


@processor("telling.much", min_files=0)
async def much(job: JobContext, lines: int, length: int = 10) -> None:
    """Log many long lines."""
    for number in range(lines):
        job.log(f"{number} ".ljust(length, "x"))


@processor("telling.hostile", min_files=0)
def hostile(job: JobContext) -> None:
    """Say what would fool a terminal, and a megabyte of it."""
    job.progress(0.3, HOSTILE)
    job.log(HOSTILE)
    job.log(HOSTILE * 100_000)
    raise ValueError(HOSTILE * 100_000)
