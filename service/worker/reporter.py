"""From the notes of a running attempt to rows: rate-limited, size-limited, and never in the way of the work."""

import asyncio
import json
from typing import Any

import structlog

from service.clock import Clock
from service.errors import DatabaseUnavailableError
from service.processors.base import LogNote, Note, ProgressNote
from service.store.events import log_event, progress_event
from service.store.jobs import Jobs
from service.store.records import Advance, ClaimedJob

log = structlog.get_logger()

INTERVAL_S = 0.2
MAX_LINES = 1000
MAX_LINE_CHARS = 4000


class Reporter:
    """Takes the notes of one attempt, and writes them down every `INTERVAL_S` seconds.

    Of progress only the latest is kept between two writes; of log lines, the first `MAX_LINES` of the attempt.
    """

    def __init__(self, job: ClaimedJob, worker_id: str, jobs: Jobs, clock: Clock) -> None:
        self._job = job
        self._worker_id = worker_id
        self._jobs = jobs
        self._clock = clock
        self._progress: ProgressNote | None = None
        self._lines: list[dict[str, Any]] = []
        self._line_count = 0
        self._task: asyncio.Task[None] | None = None

    def take(self, note: Note) -> None:
        """Take a note; it is written soon, or at `close`."""
        if isinstance(note, ProgressNote):
            self._progress = note
        else:
            self._take_line(note)
        if self._task is None:
            self._task = asyncio.create_task(self._write_later())

    async def close(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._write()

    def _take_line(self, note: LogNote) -> None:
        self._line_count += 1
        if self._line_count <= MAX_LINES:
            self._lines.append(self._line(note.message, note.fields))
        elif self._line_count == MAX_LINES + 1:
            self._lines.append(self._line(f"the log ends here: an attempt may write {MAX_LINES} lines", {}))

    def _line(self, message: str, fields: dict[str, Any]) -> dict[str, Any]:
        small = fields if len(json.dumps(fields, default=str)) <= MAX_LINE_CHARS else {"cut": True}
        now = self._clock.now()
        return log_event(self._job.id, self._job.attempt, now, message[:MAX_LINE_CHARS], small)

    async def _write_later(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self._write()

    async def _write(self) -> None:
        progress, self._progress = self._progress, None
        lines, self._lines = self._lines, []
        if progress is None and not lines:
            return
        try:
            await self._jobs.advance(self._advance(progress, lines))
        except DatabaseUnavailableError as error:
            log.warning("progress lost", job_id=self._job.id, error=str(error))

    def _advance(self, progress: ProgressNote | None, lines: list[dict[str, Any]]) -> Advance:
        job = self._job
        if progress is None:
            return Advance(job.id, self._worker_id, job.attempt, tuple(lines))
        message = progress.message[:MAX_LINE_CHARS]
        event = progress_event(job.id, job.attempt, self._clock.now(), progress.fraction, message)
        return Advance(
            job.id, self._worker_id, job.attempt, (*lines, event), fraction=progress.fraction, message=message
        )
