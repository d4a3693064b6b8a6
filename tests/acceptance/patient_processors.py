"""Processors that are done when a file appears: a test decides when, and for how long they run."""

import asyncio
import time
from pathlib import Path

import anyio

from service import JobContext, processor

PAUSE_S = 0.02


@processor("patient.loop", min_files=0)
async def on_the_loop(job: JobContext, path: Path) -> int:
    """Wait for the file on the event loop; return the number of the attempt."""
    while not await anyio.Path(path).exists():
        await asyncio.sleep(PAUSE_S)
    return job.attempt


@processor("patient.child", min_files=0)
def in_a_child(job: JobContext, path: Path) -> int:
    """Wait for the file in a child process; return the number of the attempt."""
    while not path.exists():
        time.sleep(PAUSE_S)
    return job.attempt
