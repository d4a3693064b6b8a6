"""What a user may do to a job: cancel it, run it once more, delete it."""

from typing import NoReturn

from service.clock import Clock
from service.errors import InputGoneError, WrongStateError
from service.queues.base import JobQueue, Ticket
from service.states import TRANSITIONS, Move
from service.storage.base import Storage
from service.store.files import Files
from service.store.jobs import Jobs
from service.store.records import JobRecord
from service.worker.executor import Executor


class Control:
    """Carries out users' orders: first in the database, which decides, then in this process."""

    def __init__(
        self,
        jobs: Jobs,
        files: Files,
        storage: Storage,
        queue: JobQueue,
        executor: Executor,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._files = files
        self._storage = storage
        self._queue = queue
        self._executor = executor
        self._clock = clock

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job that waits or runs; a running attempt is stopped.

        Raises:
            JobNotFoundError: there is none with this id.
            WrongStateError: it has finished.
        """
        if not await self._jobs.cancel(job_id, self._clock.now()):
            await self._refuse(job_id, "cancelled", "only queued and running jobs can be")
        self._executor.interrupt(job_id)
        return await self._jobs.get(job_id)

    async def retry(self, job_id: str) -> JobRecord:
        """Queue a failed or cancelled job once more.

        Raises:
            JobNotFoundError: there is none with this id.
            WrongStateError: it is in another state.
            InputGoneError: one of its files was deleted.
        """
        if not await self._jobs.retry(job_id, self._clock.now()):
            if (await self._jobs.get(job_id)).job.state in TRANSITIONS[Move.RETRY].sources:
                raise InputGoneError("an input file of this job was deleted; submit it again with its files")
            await self._refuse(job_id, "retried", "only failed and cancelled jobs can be")
        record = await self._jobs.get(job_id)
        self._queue.offer(Ticket(job_id, record.job.priority, record.job.processor))
        return record

    async def delete(self, job_id: str) -> None:
        """Delete a job that does not run, with the files that are nobody else's.

        Raises:
            JobNotFoundError: there is none with this id.
            WrongStateError: it runs.
        """
        count, file_ids = await self._files.delete_with_jobs([job_id], at=self._clock.now())
        if count == 0:
            await self._refuse(job_id, "deleted", "cancel it first")
        self._jobs.tell_deleted(job_id)
        await self._storage.delete(file_ids)

    async def delete_file(self, file_id: str) -> None:
        """Delete a file that no unfinished job needs.

        Raises:
            StoredFileNotFoundError: there is none with this id.
            FileInUseError: a queued or running job needs it.
        """
        await self._files.delete(file_id)
        await self._storage.delete([file_id])

    async def _refuse(self, job_id: str, what: str, hint: str) -> NoReturn:
        state = (await self._jobs.get(job_id)).job.state
        raise WrongStateError(f"the job is {state} and cannot be {what}; {hint}")
