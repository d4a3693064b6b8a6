"""Processors that say when they ran: of some, only so many may run at once."""

# ruff: noqa: ARG001 - the job is there because every processor has it

import asyncio
import contextlib
import time

from service import JobContext, Retry, processor

Span = tuple[float, float]
_free_ran = asyncio.Semaphore(0)


@processor("iso.free", min_files=0)
async def free(job: JobContext, pause_s: float = 0) -> Span:
    """Run at any time."""
    span = await _span(pause_s)
    _free_ran.release()
    return span


@processor("iso.lonely", min_files=0, max_concurrency=1)
async def lonely(job: JobContext, pause_s: float = 0, after_free: int = 0) -> Span:
    """Run alone, and until so many free ones have run."""
    began, _ = await _span(pause_s)
    for _ in range(after_free):
        await _free_ran.acquire()
    return began, time.monotonic()


@processor("iso.pair", min_files=0, max_concurrency=2)
async def pair(job: JobContext, pause_s: float = 0) -> Span:
    """Run with one other at most."""
    return await _span(pause_s)


@processor("iso.lonely_child", min_files=0, max_concurrency=1)
def lonely_child(job: JobContext, pause_s: float = 0) -> Span:
    """Run alone, in a process."""
    began = time.monotonic()
    time.sleep(pause_s)
    return began, time.monotonic()


@processor("iso.lonely_retry", min_files=0, max_concurrency=1)
async def lonely_retry(job: JobContext) -> int:
    """Ask for a second attempt."""
    if job.attempt == 1:
        raise Retry(delay_s=0.1)
    return job.attempt


async def _span(pause_s: float) -> Span:
    began = time.monotonic()
    await asyncio.sleep(pause_s)
    return began, time.monotonic()


@processor("iso.stubborn", min_files=0)
async def stubborn(job: JobContext) -> None:
    """Take no notice of being cancelled."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
