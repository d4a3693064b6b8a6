"""What a worker writes down of a job: that it was claimed, and what the attempt came to."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import structlog

from service.clock import Clock, later
from service.errors import DatabaseUnavailableError, FilemillError, StorageFailedError
from service.meters import Meters, Settled
from service.processors.base import OutputFile
from service.settings import Settings
from service.states import Move
from service.storage.base import Storage
from service.store.ids import new_id
from service.store.jobs import Jobs
from service.store.records import Claim, ClaimedJob, HeldJob, NewFile, Settlement
from service.worker.reporter import Reporter
from service.worker.retry import backoff_s
from service.worker.runner import Broke, Postponed, Refused, Returned, Verdict

log = structlog.get_logger()

_SAID_CHARS = 300
_PATIENCE_S = 1.0
_SOON_S = 0.001  # later than now, so that the stager sees to it


class Ledger:
    """Claims and settles for one worker. A job that was taken away from it meanwhile is left alone."""

    def __init__(
        self, worker_id: str, jobs: Jobs, storage: Storage, *, settings: Settings, meters: Meters, clock: Clock
    ) -> None:
        self._worker_id = worker_id
        self._jobs = jobs
        self._storage = storage
        self._settings = settings
        self._meters = meters
        self._clock = clock
        self.put_back = 0  # jobs

    async def claim(self, job_id: str) -> ClaimedJob | None:
        """Take the job, or return None when somebody else was first."""
        return await self._jobs.claim(Claim(job_id, self._worker_id, self._clock.now()))

    def reporter(self, job: ClaimedJob) -> Reporter:
        """Return what takes the notes of this attempt."""
        return Reporter(job, self._worker_id, self._jobs, self._clock)

    async def finish(self, job: ClaimedJob, verdict: Verdict) -> None:
        """Write down what the attempt came to, whatever that is: afterwards it no longer runs."""
        try:
            outputs = await self._adopt(verdict.outputs) if isinstance(verdict, Returned) else ()
        except StorageFailedError as error:
            verdict, outputs = Broke(error.code, error.detail), ()
        try:
            settled = await self._settle(job, self._settlement(job, verdict, outputs))
        except Exception as error:
            log.exception("outcome cannot be written down", job_id=job.id)
            await self._settle(job, self._settlement(job, broken_by(error), ()))
            settled = False
        if not settled:
            await self._storage.delete([file.id for file in outputs])

    async def release(self, job: ClaimedJob) -> None:
        """Put the job back as if it had not been claimed."""
        try:
            now, begun = self._clock.now(), job.started_at
            move = Settlement(job.id, self._worker_id, job.attempt, Move.RELEASE, now, started_at=begun)
            self.put_back += await self._settle_once(move, job.processor)
        except FilemillError as error:
            log.warning("job not released; the next start rescues it", job_id=job.id, error=error.detail)

    async def free(self, held: HeldJob, *, counts: bool) -> bool:
        """Put back a job that this worker has lost; False when it had not. What counted, and was the last, is over.

        Raises:
            DatabaseUnavailableError: the database refused.
        """
        now = self._clock.now()

        def settlement(move: Move, **rest: Any) -> Settlement:
            return Settlement(held.id, self._worker_id, held.attempt, move, now, started_at=held.started_at, **rest)

        if not counts:
            return await self._jobs.settle(settlement(Move.RELEASE))
        error = {"code": "internal_error", "message": "the server lost the attempt before it wrote down its end"}
        if held.attempt >= held.max_attempts:
            return await self._jobs.settle(settlement(Move.FAIL, error=error))
        after = later(now, max(self._backoff_s(held.attempt), _SOON_S))
        return await self._jobs.settle(settlement(Move.BACK_OFF, error=error, run_after=after))

    # ---- outputs

    async def _adopt(self, outputs: Sequence[OutputFile]) -> tuple[NewFile, ...]:
        """Move the outputs into the storage: all, or none."""
        files: list[NewFile] = []
        try:
            for output in outputs:
                files.append(await self._adopt_one(output))  # noqa: PERF401 - what is adopted is deleted on failure
        except BaseException:
            await asyncio.shield(self._storage.delete([file.id for file in files]))
            raise
        return tuple(files)

    async def _adopt_one(self, output: OutputFile) -> NewFile:
        file_id = new_id()
        stored = await self._storage.adopt(file_id, output.path)
        return NewFile(file_id, output.name, stored.media_type, stored.size_bytes, stored.sha256, self._clock.now())

    # ---- the outcome

    def _settlement(self, job: ClaimedJob, verdict: Verdict, outputs: tuple[NewFile, ...]) -> Settlement:
        now = self._clock.now()

        def settlement(move: Move, **rest: object) -> Settlement:
            begun = job.started_at
            return Settlement(job.id, self._worker_id, job.attempt, move, now, started_at=begun, **rest)  # type: ignore[arg-type]

        match verdict:
            case Returned(result):
                return settlement(Move.SUCCEED, result=result, outputs=outputs)
            case Refused(code, message):
                return settlement(Move.FAIL, error={"code": code, "message": message})
            case Postponed(delay_s):
                return settlement(Move.SNOOZE, run_after=later(now, max(delay_s, _SOON_S)))
            case Broke(code, message, delay_s, facts):
                error = {"code": code, "message": message, **facts}
                if job.attempt >= job.max_attempts:
                    return settlement(Move.FAIL, error=error)
                wait_s = self._backoff_s(job.attempt) if delay_s is None else delay_s
                return settlement(Move.BACK_OFF, error=error, run_after=later(now, max(wait_s, _SOON_S)))

    def _backoff_s(self, attempt: int) -> float:
        return backoff_s(attempt, self._settings.retry_base_s, self._settings.retry_cap_s, random.random)

    async def _settle(self, job: ClaimedJob, settlement: Settlement) -> bool:
        """Write the settlement down, however long the database refuses: the work is done, it must not be lost."""
        while True:
            try:
                settled = await self._settle_once(settlement, job.processor)
            except DatabaseUnavailableError as error:
                log.warning("settlement waits for the database", job_id=settlement.job_id, error=error.detail)
                await asyncio.sleep(_PATIENCE_S)
            else:
                if settled:
                    self._count(job, settlement)
                return settled

    async def _settle_once(self, settlement: Settlement, processor: str) -> bool:
        settled = await self._jobs.settle(settlement)
        if settled and settlement.error:
            _tell_failure(settlement, processor)
        elif not settled:
            log.info("settlement came too late", job_id=settlement.job_id, attempt=settlement.attempt)
        return settled

    def _count(self, job: ClaimedJob, settlement: Settlement) -> None:
        wait_s = (job.started_at - job.ready_at).total_seconds()
        run_s = (settlement.at - job.started_at).total_seconds()
        outcome = settlement.move.value
        self._meters.settled(Settled(self._clock.monotonic(), job.processor, outcome, max(wait_s, 0), max(run_s, 0)))


def _tell_failure(settlement: Settlement, processor: str) -> None:
    """Say in the server's log that an attempt failed, and the begin of why; the rest is in the job."""
    over, error = settlement.move is Move.FAIL, settlement.error or {}
    said = str(error.get("message", ""))[:_SAID_CHARS]
    log.log(
        logging.WARNING if over else logging.INFO,
        "job failed" if over else "attempt failed, another follows",
        job_id=settlement.job_id,
        processor=processor,
        attempt=settlement.attempt,
        code=error.get("code"),
        error="".join(char if char.isprintable() else " " for char in said),
    )


def broken_by(error: BaseException) -> Broke:
    """Return what an attempt comes to when the server itself fails."""
    if isinstance(error, FilemillError):
        return Broke(error.code, error.detail)
    return Broke("internal_error", f"the server failed: {ascii(error)[:500]}")
