"""Processors that do nothing, or nothing but burn; loaded by path into the servers that are measured."""

import functools
import os
import time

from service import JobContext, processor
from tests.benchmarks.peers.tally import Tally, open_tally


@processor("bench.noop", min_files=0)
async def noop(job: JobContext, number: int = -1) -> None:  # noqa: ARG001 - every processor takes its job
    """Mark the start, and be done."""
    if number >= 0:
        _tally().mark(number)


@processor("bench.noop_def", min_files=0)
def noop_def(job: JobContext, number: int = -1) -> None:  # noqa: ARG001
    """Mark the start, and be done, in a child process."""
    if number >= 0:
        _tally().mark(number)


@processor("bench.spin", min_files=0)
def spin(job: JobContext, seconds: float = 1) -> None:  # noqa: ARG001
    """Keep one core busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


@functools.cache
def _tally() -> Tally:
    return open_tally()


assert "BENCH_TALLY" in os.environ, "the benchmark starts the servers that load this file"
