"""Who ran, and when: a file shared by all processes, with one slot for each job.

A job writes the monotonic clock into its own slot. So several processes and threads can mark without a lock, a
job that runs twice counts once, and a mark costs about a microsecond.
"""

import array
import mmap
import os
import struct
import time
from pathlib import Path

_SLOT_BYTES = 8
POLL_S = 0.002


class TallyError(Exception):
    """Jobs did not run in time."""


class Tally:
    """The slots. Given `slots`, the file is made; otherwise it must be there."""

    def __init__(self, path: Path, slots: int = 0) -> None:
        if slots:
            with path.open("wb") as file:
                file.truncate(slots * _SLOT_BYTES)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def mark(self, number: int) -> None:
        """Note that this job starts now."""
        if number >= 0:
            struct.pack_into("<q", self._map, number * _SLOT_BYTES, time.monotonic_ns())

    def marks(self, first: int, count: int) -> list[int]:
        """Return when each of these jobs started, in nanoseconds; 0 for one that has not."""
        raw = self._map[first * _SLOT_BYTES : (first + count) * _SLOT_BYTES]
        return array.array("q", raw).tolist()

    def missing(self, first: int, count: int) -> int:
        """Return how many of these jobs have not started."""
        return array.array("q", self._map[first * _SLOT_BYTES : (first + count) * _SLOT_BYTES]).count(0)

    def wait(self, first: int, count: int, limit_s: float) -> list[int]:
        """Return the marks of these jobs when all are there.

        Raises:
            TallyError: the time is over.
        """
        deadline = time.monotonic() + limit_s
        while missing := self.missing(first, count):
            if time.monotonic() > deadline:
                raise TallyError(f"{missing} of {count} jobs did not run within {limit_s:g} s")
            time.sleep(POLL_S)
        return self.marks(first, count)


def open_tally() -> Tally:
    """Open the tally that the environment names."""
    return Tally(Path(os.environ["BENCH_TALLY"]))


def rate(marks: list[int], end_ns: int = 0) -> float:
    """Return jobs per second, without the first tenth, in which workers are still starting."""
    ordered = sorted(marks)
    skipped = len(ordered) // 10
    seconds = (max(end_ns, ordered[-1]) - ordered[skipped]) / 1e9
    return (len(ordered) - skipped - 1) / max(seconds, 1e-9)
