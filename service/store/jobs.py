"""Jobs, as the rest of the service asks for them: every change goes through the writer, every look past it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from service.errors import JobNotFoundError, UnknownFileError
from service.states import TERMINAL, TRANSITIONS, State
from service.store.additions import add_jobs, job_row
from service.store.changes import Changes
from service.store.control import (
    Order,
    Release,
    Rescue,
    Staging,
    cancel_jobs,
    last_chances,
    release_jobs,
    rescue_jobs,
    retry_jobs,
    stage_jobs,
    turn_of,
)
from service.store.database import Database
from service.store.listing import JobFilter, Page, read_page
from service.store.models import Event, File, IdempotencyKey, Job, JobFile
from service.store.moves import advance_jobs, claim_jobs, settle_jobs
from service.store.records import Advance, Claim, ClaimedJob, HeldJob, JobRecord, NewJob, Ready, Settlement
from service.store.rows import KeyTakenError, as_loaded, file_of
from service.store.tables import in_state, jobs
from service.store.writer import Writer

_NEW_JOB = TypeAdapter(NewJob)


class Jobs:
    """The jobs table, with the files and the events of each job."""

    def __init__(self, database: Database, writer: Writer, changes: Changes) -> None:
        self._database = database
        self._writer = writer
        self._changes = changes

    # ---- changes

    async def add(self, new: NewJob) -> JobRecord:
        """Commit a job, its files and its idempotency key.

        Nothing is awaited before the write is queued: a claim that follows the call then comes after it.

        Raises:
            KeyTakenError: the idempotency key has an answer already.
            UnknownFileError: a stored file was deleted meanwhile.
        """
        try:
            await self._writer.write(add_jobs, new)
        except IntegrityError as error:
            if "idempotency_keys" in str(error.orig):
                raise KeyTakenError from error
            raise UnknownFileError("a file of the job was deleted while the job was submitted") from error
        return record_of(new)

    async def claim(self, claim: Claim) -> ClaimedJob | None:
        """Win the job, or return None when it is no longer ready. It may be one that is being added just now."""
        claimed = await self._writer.write(claim_jobs, claim, last=True)
        if claimed:
            self._changes.tell(claim.job_id, State.RUNNING)
        return claimed

    async def advance(self, advance: Advance) -> bool:
        """Record progress and log lines; False when the attempt no longer holds its job."""
        return await self._writer.write(advance_jobs, advance)

    async def settle(self, settlement: Settlement) -> bool:
        """Record what an attempt came to; False when the attempt no longer holds its job."""
        settled = await self._writer.write(settle_jobs, settlement)
        if settled:
            self._changes.tell(settlement.job_id, TRANSITIONS[settlement.move].target)
        return settled

    async def cancel(self, job_id: str, at: datetime) -> bool:
        """Cancel the job; False when its state forbids it, or it is not there."""
        cancelled = await self._writer.write(cancel_jobs, Order(job_id, at))
        if cancelled:
            self._changes.tell(job_id, State.CANCELLED)
        return cancelled

    async def retry(self, job_id: str, at: datetime) -> bool:
        """Queue the job once more; False when its state forbids it, or it is not there."""
        return await self._writer.write(retry_jobs, Order(job_id, at))

    async def rescue(
        self, worker_id: str, at: datetime, limit: int, max_losses: int, delay_s: Callable[[int], float]
    ) -> int:
        """Take running jobs from every worker but this one; return how many.

        Those that were lost `max_losses` times in a row fail; others run again, `delay_s(losses)` seconds later.
        """
        return await self._writer.write(rescue_jobs, Rescue(worker_id, at, limit, max_losses, delay_s))

    async def release(self, worker_id: str, at: datetime) -> int:
        """Put back what this worker still has, as if it had not been claimed; return how many jobs that were."""
        return await self._writer.write(release_jobs, Release(worker_id, at), last=True)

    async def stage(self, staging: Staging) -> int:
        """Make jobs ready whose moment has come; return how many."""
        return await self._writer.write(stage_jobs, staging)

    def tell_deleted(self, job_id: str) -> None:
        """Let go those who wait for a job that was deleted."""
        self._changes.forget(job_id)

    # ---- looks

    async def get(self, job_id: str) -> JobRecord:
        """Return the job.

        Raises:
            JobNotFoundError: there is none with this id.
        """
        async with self._database.session() as session:
            job = await session.get(Job, job_id)
            if job is None:
                raise JobNotFoundError(f"there is no job {job_id[:100]}")
            inputs, outputs = await _files_of(session, [job_id])
            return JobRecord(job, tuple(inputs.get(job_id, ())), tuple(outputs.get(job_id, ())))

    async def list_page(self, wanted: JobFilter) -> Page:
        """Return up to `limit` jobs, the newest first, without what is too large for a list."""
        async with self._database.session() as session:
            return await read_page(session, wanted)

    async def list_ready(self, processors: Sequence[str], limit: int) -> list[Ready]:
        """Return jobs that may be claimed now, up to `limit` of each processor: its first, in their order."""
        found: list[Ready] = []
        async with self._database.session() as session:
            for processor in processors:
                rows = await session.exec(
                    select(Job.id, Job.rank)
                    .where(in_state(State.QUEUED), ~jobs.c.scheduled, col(Job.processor) == processor)
                    .order_by(col(Job.rank), col(Job.id))
                    .limit(limit)
                )
                found += [Ready(job_id, processor, -rank) for job_id, rank in rows]
        return found

    async def find_next_due(self, losses_below: int | None = None) -> datetime | None:
        """Return the moment at which the next scheduled job, or the next with fewer losses, is due, or None."""
        scheduled = select(Job.run_after).where(in_state(State.QUEUED), jobs.c.scheduled)
        if losses_below is not None:
            scheduled = scheduled.where(jobs.c.losses < losses_below)
        async with self._database.session() as session:
            return (await session.exec(scheduled.order_by(col(Job.run_after)).limit(1))).first()

    async def is_anything_due(self, staging: Staging) -> bool:
        """Whether staging would make a job ready: a look costs no commit, and a last chance may wait for its turn."""
        due = await self.find_next_due()
        if due is None or due > staging.at:
            return False
        if staging.one_from is None:
            return True
        due = await self.find_next_due(staging.one_from)
        if due is not None and due <= staging.at:
            return True
        async with self._database.session() as session:
            return turn_of(await session.exec(last_chances(staging.one_from)), staging) is not None

    async def list_held(self, worker_id: str) -> set[HeldJob]:
        """Return the jobs that this worker has."""
        held = select(jobs.c.id, jobs.c.attempt, jobs.c.max_attempts, jobs.c.started_at)
        async with self._database.session() as session:
            rows = await session.exec(held.where(in_state(State.RUNNING), jobs.c.worker_id == worker_id))
            return {HeldJob(*row) for row in rows}

    async def list_expired(self, before: datetime, limit: int) -> list[str]:
        """Return ids of jobs that finished before this moment, the oldest first."""
        async with self._database.session() as session:
            rows = await session.exec(
                select(Job.id).where(col(Job.finished_at) < before).order_by(col(Job.finished_at)).limit(limit)
            )
            return list(rows)

    async def list_events(self, job_id: str, after_id: int = 0, limit: int = 1000) -> list[Event]:
        """Return what happened to the job, in order."""
        async with self._database.session() as session:
            rows = await session.exec(
                select(Event)
                .where(col(Event.job_id) == job_id, col(Event.id) > after_id)
                .order_by(col(Event.id))
                .limit(limit)
            )
            return list(rows)

    async def find_answer(self, key: str) -> IdempotencyKey | None:
        """Return the first answer to this idempotency key, or None."""
        async with self._database.session() as session:
            return await session.get(IdempotencyKey, key)

    async def wait(self, job_id: str, timeout_s: float) -> None:
        """Return when the job has finished, or after `timeout_s` seconds.

        Raises:
            JobNotFoundError: there is none with this id.
        """
        with self._changes.watch(job_id) as finished:
            if (await self.get(job_id)).job.state not in TERMINAL:
                await finished.wait(timeout_s)

    async def check(self) -> None:
        """Raise `DatabaseUnavailableError` when nothing can be committed now."""
        await self._writer.write(probe, None)


def probe(connection: Connection, items: Sequence[None]) -> Sequence[None]:
    """Write a page, and change nothing."""
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    return items


def record_of(new: NewJob) -> JobRecord:
    """Return a job as it is at its submission."""
    row = job_row(new)
    files = tuple(file_of(file) for file in (*new.uploads, *new.stored))
    return JobRecord(as_loaded(Job, metadata_=row.pop("metadata"), **row), files)


def first_job(answer: IdempotencyKey) -> JobRecord | None:
    """Return the job of a first answer, as it was answered then; None when the answer was not a job."""
    return record_of(_NEW_JOB.validate_python(answer.answer["job"])) if "job" in answer.answer else None


async def _files_of(session: Any, job_ids: list[str]) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
    """Return the inputs and the outputs of each job, in order."""
    found: dict[str, dict[str, list[File]]] = {"input": {}, "output": {}}
    rows = await session.exec(
        select(JobFile, File)
        .join(File, col(File.id) == col(JobFile.file_id))
        .where(col(JobFile.job_id).in_(job_ids))
        .order_by(col(JobFile.job_id), col(JobFile.role), col(JobFile.position))
    )
    for link, file in rows:
        found[link.role].setdefault(link.job_id, []).append(file)
    return found["input"], found["output"]
