"""One job, from its claim to its settlement."""

import asyncio
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiofiles.os
import structlog

from service.clock import Clock, later
from service.errors import DatabaseUnavailableError, FilemillError, StorageFailedError
from service.processors.base import InputFile, OutputFile, Processor
from service.processors.registry import Registry
from service.settings import Settings
from service.states import Move
from service.storage.base import Storage
from service.store.ids import new_id
from service.store.jobs import Jobs
from service.store.records import Claim, ClaimedJob, NewFile, Settlement
from service.worker.reporter import Reporter
from service.worker.retry import backoff_s
from service.worker.runner import Assignment, Broke, Postponed, Refused, Returned, Runner, Verdict

log = structlog.get_logger()

_PATIENCE_S = 1.0


class Executor:
    """Runs jobs for one worker. `work` is the folder in which each attempt gets its own."""

    def __init__(
        self,
        worker_id: str,
        jobs: Jobs,
        storage: Storage,
        registry: Registry,
        runners: Mapping[str, Runner],
        work: Path,
        *,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._worker_id = worker_id
        self._jobs = jobs
        self._storage = storage
        self._registry = registry
        self._runners = runners
        self._work = work
        self._settings = settings
        self._clock = clock
        self._attempts: dict[str, asyncio.Task[Verdict]] = {}

    @property
    def running(self) -> int:
        """How many attempts run now."""
        return len(self._attempts)

    def interrupt(self, job_id: str) -> None:
        """Stop the attempt of a job that was cancelled."""
        if (attempt := self._attempts.get(job_id)) is not None:
            attempt.cancel()

    async def execute(self, job_id: str) -> None:
        """Claim the job, run one attempt, settle it. Cancelled in between, it puts the job back."""
        job = await self._jobs.claim(Claim(job_id, self._worker_id, self._clock.now()))
        if job is None:
            return
        reporter = Reporter(job, self._worker_id, self._jobs, self._clock)
        folder = self._work / f"{job.id}-{job.attempt}"
        attempt = self._attempts[job.id] = asyncio.create_task(self._run(job, folder, reporter))
        try:
            await asyncio.wait([attempt])
            if not attempt.cancelled():
                await self._finish(job, attempt.result(), reporter)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(job, attempt))
            raise
        finally:
            if self._attempts.get(job.id) is attempt:
                del self._attempts[job.id]
            await asyncio.shield(_remove(folder))

    # ---- the attempt

    async def _run(self, job: ClaimedJob, folder: Path, reporter: Reporter) -> Verdict:
        processor = self._registry.find(job.processor)
        if processor is None:
            return Refused("unknown_processor", f"this server has no processor {job.processor!r}")
        if processor.lane == "child":
            await aiofiles.os.mkdir(folder)
        return await self._runners[processor.lane].run(self._assignment(job, processor, folder), reporter.take)

    def _assignment(self, job: ClaimedJob, processor: Processor, folder: Path) -> Assignment:
        return Assignment(
            job_id=job.id,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            processor=processor,
            params=job.params,
            metadata=job.metadata,
            files=tuple(self._input(file) for file in job.inputs),
            folder=folder,
            timeout_s=job.timeout_s,
        )

    def _input(self, file: NewFile) -> InputFile:
        path = self._storage.path_of(file.id)
        return InputFile(file.id, file.name, file.media_type, file.size_bytes, file.sha256, path)

    # ---- the settlement

    async def _finish(self, job: ClaimedJob, verdict: Verdict, reporter: Reporter) -> None:
        await reporter.close()
        try:
            outputs = await self._adopt(verdict.outputs) if isinstance(verdict, Returned) else ()
        except StorageFailedError as error:
            verdict, outputs = Broke(error.code, error.detail), ()
        if not await self._settle(self._settlement(job, verdict, outputs)):
            await self._storage.delete([file.id for file in outputs])

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

    def _settlement(self, job: ClaimedJob, verdict: Verdict, outputs: tuple[NewFile, ...]) -> Settlement:
        now = self._clock.now()

        def settlement(move: Move, **rest: object) -> Settlement:
            return Settlement(job.id, self._worker_id, job.attempt, move, now, **rest)  # type: ignore[arg-type]

        match verdict:
            case Returned(result):
                return settlement(Move.SUCCEED, result=result, outputs=outputs)
            case Refused(code, message):
                return settlement(Move.FAIL, error={"code": code, "message": message})
            case Postponed(delay_s):
                return settlement(Move.SNOOZE, run_after=later(now, delay_s))
            case Broke(code, message, delay_s, facts):
                error = {"code": code, "message": message, **facts}
                if job.attempt >= job.max_attempts:
                    return settlement(Move.FAIL, error=error)
                wait_s = self._backoff_s(job) if delay_s is None else delay_s
                return settlement(Move.BACK_OFF, error=error, run_after=later(now, wait_s))

    def _backoff_s(self, job: ClaimedJob) -> float:
        return backoff_s(job.attempt, self._settings.retry_base_s, self._settings.retry_cap_s, random.random)

    async def _settle(self, settlement: Settlement) -> bool:
        """Write the settlement down, however long the database refuses: the work is done, it must not be lost."""
        while True:
            try:
                settled = await self._jobs.settle(settlement)
            except DatabaseUnavailableError as error:
                log.warning("settlement waits for the database", job_id=settlement.job_id, error=error.detail)
                await asyncio.sleep(_PATIENCE_S)
            else:
                self._log(settlement, settled=settled)
                return settled

    async def _release(self, job: ClaimedJob, attempt: asyncio.Task[Verdict]) -> None:
        """Stop the attempt, and put the job back as if it had not been claimed."""
        attempt.cancel()
        await asyncio.wait([attempt])
        try:
            await self._jobs.settle(Settlement(job.id, self._worker_id, job.attempt, Move.RELEASE, self._clock.now()))
        except FilemillError as error:
            log.warning("job not released; the next start rescues it", job_id=job.id, error=error.detail)

    def _log(self, settlement: Settlement, *, settled: bool) -> None:
        log.debug(
            "job settled" if settled else "settlement came too late",
            job_id=settlement.job_id,
            attempt=settlement.attempt,
            move=settlement.move.value,
            code=(settlement.error or {}).get("code"),
        )


async def _remove(folder: Path) -> None:
    if folder.exists():  # noqa: ASYNC240 - one stat of a local folder costs less than the way to a thread
        await aiofiles.os.wrap(shutil.rmtree)(folder, ignore_errors=True)
