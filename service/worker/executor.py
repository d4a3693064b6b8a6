"""One job, from its claim to its settlement."""

import asyncio
import contextlib
import itertools
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from service.errors import StorageFailedError
from service.own_threads import in_own_thread
from service.processors.base import InputFile, Processor
from service.processors.registry import Registry, is_of_catalogue
from service.settings import Settings
from service.storage.base import Storage
from service.storage.trial import PROBE
from service.store.records import ClaimedJob, HeldJob
from service.worker.attempt import Attempt
from service.worker.ledger import Ledger, broken_by
from service.worker.reporter import Reporter
from service.worker.runner import (
    Assignment,
    Broke,
    Postponed,
    Refused,
    Returned,
    Runner,
    Verdict,
    timed_out,
    verdict_of,
)
from service.worker.views import Views, inputs_of

log = structlog.get_logger()

LOOP_STOP_LIMIT_S = 5.0
CHILD_STOP_LIMIT_S = 40.0  # longer than a runner takes to end a child by force


def _nothing() -> None:
    """Leave it at that."""


class Executor:
    """Runs jobs for one worker. `work` is the folder in which each attempt gets its own."""

    def __init__(
        self,
        ledger: Ledger,
        storage: Storage,
        registry: Registry,
        runners: Mapping[str, Runner],
        *,
        work: Path,
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._runners = runners
        self._work = work
        self._settings = settings
        self._attempts: dict[str, Attempt] = {}
        self._claiming: Counter[str] = Counter()
        self._unsettled: dict[str, ClaimedJob] = {}
        self._serial = itertools.count()
        self._leftovers: set[Path] = set()
        self._views = Views(storage)

    @property
    def running(self) -> int:
        """How many attempts run now."""
        return len(self._attempts)

    def holds(self, job_id: str) -> bool:
        """Whether the job is claimed, run or settled here just now."""
        return job_id in self._attempts or job_id in self._claiming

    async def free(self, held: HeldJob) -> bool:
        """Put back a job that nobody holds, though it is this worker's; False when it was not so.

        The attempt counts if it was begun.
        """
        begun = self._unsettled.get(held.id)
        freed = await self._ledger.free(held, counts=begun is not None and begun.attempt == held.attempt)
        if begun is not None:
            self._forget(begun)
        return freed

    def interrupt(self, job_id: str) -> None:
        """Stop the attempt of a job that was cancelled."""
        if (attempt := self._attempts.get(job_id)) is not None:
            attempt.stop()

    async def execute(self, job_id: str, when_done: Callable[[], None] = _nothing) -> None:
        """Claim the job, run one attempt, settle it. Cancelled in between, it puts the job back.

        `when_done` is called when the processor is done, and the job is not settled yet.
        """
        job = await self._claim(job_id)
        if job is None:
            return
        reporter = self._ledger.reporter(job)
        # a number of its own: a snooze gives its attempt back, while its folder may still be on its way out
        folder = self._work / str(next(self._serial))
        attempt = self._attempts[job.id] = self._begin(job, folder, reporter)
        self._unsettled[job.id] = job
        try:
            await attempt.ended()
            when_done()
            if not attempt.was_stopped:
                await self._finish(job, self._verdict_of(attempt, job), folder, reporter)
            self._forget(job)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(job, attempt))
            raise
        finally:
            reporter.deafen()
            if self._attempts.get(job.id) is attempt:
                del self._attempts[job.id]
            if left := [place for place in (folder, inputs_of(folder)) if _is_there(place)]:
                self._leftovers.update(left)
                await asyncio.shield(self._remove_leftovers())

    async def aclose(self) -> None:
        """End the threads that copy inputs; no attempt may run any more."""
        await self._views.aclose()

    async def clear(self) -> None:
        """Remove the folders of attempts that are over: out of descriptors, that may take more than one try.

        While nobody runs, also what attempts have put beside their folders: a tool may write to `../report.pdf`.
        """
        if not (self._attempts or self._claiming):
            self._leftovers.update(_all_in(self._work))
        await self._remove_leftovers()

    async def _remove_leftovers(self) -> None:
        doomed = list(self._leftovers)
        await _remove(*doomed)
        self._leftovers.difference_update(folder for folder in doomed if not _is_there(folder))

    async def _claim(self, job_id: str) -> ClaimedJob | None:
        self._claiming[job_id] += 1
        try:
            return await self._ledger.claim(job_id)
        finally:
            self._claiming[job_id] -= 1
            if not self._claiming[job_id]:
                del self._claiming[job_id]

    async def _finish(self, job: ClaimedJob, verdict: Verdict, folder: Path, reporter: Reporter) -> None:
        """Settle. What a failed attempt wrote goes first: on a full disk it may be what the database waits for."""
        if not isinstance(verdict, Returned):
            await _remove(folder, inputs_of(folder))
        await reporter.close()
        await self._ledger.finish(job, verdict)

    def _forget(self, job: ClaimedJob) -> None:
        """Forget that this attempt was begun; a later one of the same job may have begun meanwhile."""
        if self._unsettled.get(job.id) is job:
            del self._unsettled[job.id]

    # ---- the attempt

    def _begin(self, job: ClaimedJob, folder: Path, reporter: Reporter) -> Attempt:
        is_child = self._is_child(job)
        stop_limit_s = CHILD_STOP_LIMIT_S if is_child else LOOP_STOP_LIMIT_S
        attempt = Attempt(self._run(job, folder, reporter), stop_limit_s, processor=job.processor, job_id=job.id)
        if not (is_child or job.inputs):  # one that waits for a child, or for its inputs, has all the time
            attempt.expect_end_within(job.timeout_s)
        return attempt

    def _is_child(self, job: ClaimedJob) -> bool:
        processor = self._registry.find(job.processor)
        return processor is not None and processor.lane == "child"

    async def _run(self, job: ClaimedJob, folder: Path, reporter: Reporter) -> Verdict:
        processor = self._registry.find(job.processor)
        if processor is None:
            return Refused("unknown_processor", f"this server has no processor {job.processor!r}")
        is_child, reads_only = processor.lane == "child", _may_have_links(processor)
        try:
            files = await self._views.make(job.inputs, folder, with_folder=is_child, reads_only=reads_only)
        except StorageFailedError as error:
            return Broke(error.code, error.detail)
        if not is_child and files and (attempt := self._attempts.get(job.id)) is not None:
            attempt.expect_end_within(job.timeout_s)  # its time begins now
        return await self._runners[processor.lane].run(self._assignment(job, processor, files, folder), reporter.take)

    def _assignment(
        self, job: ClaimedJob, processor: Processor, files: tuple[InputFile, ...], folder: Path
    ) -> Assignment:
        return Assignment(
            job_id=job.id,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            processor=processor,
            params=job.params,
            metadata=job.metadata,
            files=files,
            folder=folder,
            timeout_s=job.timeout_s,
            memory_limit_bytes=processor.memory_limit_bytes or self._settings.job_memory_limit_bytes,
            result_limit_bytes=self._settings.max_result_bytes,
            cpu_limit_s=self._settings.job_cpu_limit_s,
        )

    async def _release(self, job: ClaimedJob, attempt: Attempt) -> None:
        """Stop the attempt, and put the job back."""
        attempt.stop()
        await attempt.ended()
        await self._ledger.release(job)
        self._forget(job)

    def _verdict_of(self, attempt: Attempt, job: ClaimedJob) -> Verdict:
        """Return what the attempt came to; where the server itself failed, that it broke."""
        if attempt.is_given_up:
            return timed_out(job.timeout_s)
        if attempt.was_cancelled_by_others and self._is_child(job):  # by an attempt on the loop: not its own fault
            return Postponed(0)
        try:
            return attempt.verdict()
        except GeneratorExit as error:  # that of a task it awaited: it closes all that is between them, also its runner
            return verdict_of(error)
        except BaseException as error:  # it is stored in a task, and concerns that task alone
            log.exception("attempt could not be run", job_id=job.id)
            return broken_by(error)


def _may_have_links(processor: Processor) -> bool:
    """Whether it may be given the stored files themselves: root could write through a link, whatever its mode."""
    return processor.reads_only and (os.geteuid() != 0 or is_of_catalogue(processor))


def _is_there(folder: Path) -> bool:
    """One stat of a local folder costs less than a task, and most jobs on the loop never make one."""
    return os.path.lexists(folder)


def _all_in(work: Path) -> list[Path]:
    """List a folder that is next to always empty; a name that is listed is never given to a new attempt."""
    with contextlib.suppress(OSError):
        return [work / name for name in os.listdir(work) if name != PROBE]  # noqa: PTH208 - only the names are wanted
    return []


async def _remove(*folders: Path) -> None:
    if left := [folder for folder in folders if _is_there(folder)]:
        await in_own_thread(_remove_each, left)


def _remove_each(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # somebody else may be at it
            _remove_all(folder)


def _remove_all(folder: Path) -> None:
    """Remove a folder with all in it, also what a processor has locked to itself, or what else is there."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():
        folder.chmod(stat.S_IRWXU)
        for place, names, _ in os.walk(folder):
            for path in (Path(place, name) for name in names):
                if not path.is_symlink():  # what a link leads to is none of ours
                    path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)
