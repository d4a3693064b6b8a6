"""From the notes of a running attempt to rows: rate-limited, size-limited, and never in the way of the work."""

import asyncio
from collections import deque
from typing import Any

import structlog

from service.clock import Clock
from service.processors.base import LogNote, Note, ProgressNote
from service.store.events import log_event, progress_event
from service.store.jobs import Jobs
from service.store.records import Advance, ClaimedJob
from service.worker.allowance import Allowance
from service.worker.plain import plain_fields, plain_text

log = structlog.get_logger()

INTERVAL_S = 0.2
LINES_BURST, LINES_PER_S, MAX_LINES, LAST_LINES = 1000, 10, 10_000, 20
MAX_LINE_CHARS = 4000


class Reporter:
    """Takes the notes of one attempt, and writes them down every `INTERVAL_S` seconds.

    Of progress only the latest is kept between two writes; of log lines a burst, then so many a second, and
    `MAX_LINES` in all. Lines beyond that are dropped and counted, but for the last of the attempt: they often
    say how it ended.
    """

    def __init__(self, job: ClaimedJob, worker_id: str, jobs: Jobs, clock: Clock) -> None:
        self._job = job
        self._worker_id = worker_id
        self._jobs = jobs
        self._clock = clock
        self._progress: ProgressNote | None = None
        self._lines: list[dict[str, Any]] = []
        self._left = Allowance(LINES_BURST, LINES_PER_S, clock.monotonic, MAX_LINES)
        self._dropped = 0
        self._last: deque[LogNote] = deque(maxlen=LAST_LINES)
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._is_deaf = False

    def take(self, note: Note) -> None:
        """Take a note; it is written soon, or at `close`."""
        if self._is_deaf:
            return
        if isinstance(note, ProgressNote):
            self._progress = note if 0 <= note.fraction <= 1 else self._progress  # a child may send any number
        else:
            self._take_line(note)
        if self._task is None or self._task.done():  # done: cancelled by code on the event loop
            self._task = asyncio.create_task(self._write_later())

    def deafen(self) -> None:
        """Take no more: what an attempt that was given up has to say belongs to no job."""
        self._is_deaf = True

    async def close(self) -> None:
        """Write what is left."""
        if self._task is None and not self._dropped:
            return  # nothing is left to say
        async with self._writing:  # what is being written must not be lost
            if self._task is not None:
                self._task.cancel()
        self._tell_last()
        await self._write()

    def _take_line(self, note: LogNote) -> None:
        if self._left.take():
            self._tell_dropped()
            self._lines.append(self._line(note.message, note.fields))
        else:
            self._dropped += 1
            self._last.append(note)

    def _tell_last(self) -> None:
        last = list(self._last)
        self._dropped -= len(last)
        self._tell_dropped()
        self._lines += [self._line(note.message, note.fields) for note in last]

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        self._last.clear()
        if dropped:
            self._lines.append(self._line(f"{dropped} log lines were dropped: there were too many", {}))

    def _line(self, message: str, fields: dict[str, Any]) -> dict[str, Any]:
        text = plain_text(message, MAX_LINE_CHARS)
        return log_event(self._job.id, self._job.attempt, self._clock.now(), text, plain_fields(fields, MAX_LINE_CHARS))

    async def _write_later(self) -> None:
        """Write every interval, until there was nothing to write."""
        while self._progress is not None or self._lines:
            await asyncio.sleep(INTERVAL_S)
            async with self._writing:
                await self._write()
        self._task = None

    async def _write(self) -> None:
        progress, self._progress = self._progress, None
        lines, self._lines = self._lines, []
        if progress is None and not lines:
            return
        try:
            await self._jobs.advance(self._advance(progress, lines))
        except Exception as error:  # noqa: BLE001 - a note that cannot be kept must not cost the job its result
            log.warning("progress lost", job_id=self._job.id, error=str(error))

    def _advance(self, progress: ProgressNote | None, lines: list[dict[str, Any]]) -> Advance:
        job = self._job
        if progress is None:
            return Advance(job.id, self._worker_id, job.attempt, tuple(lines), started_at=job.started_at)
        message = plain_text(progress.message, MAX_LINE_CHARS)
        event = progress_event(job.id, job.attempt, self._clock.now(), progress.fraction, message)
        return Advance(
            job.id,
            self._worker_id,
            job.attempt,
            (*lines, event),
            fraction=progress.fraction,
            message=message,
            started_at=job.started_at,
        )
