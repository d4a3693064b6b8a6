"""What the tests of the store share: an opened store, jobs to put into it, and what came of them."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.states import TERMINAL, State
from service.store.changes import Changes
from service.store.database import Database
from service.store.files import Files
from service.store.ids import new_id
from service.store.jobs import Jobs
from service.store.records import Claim, ClaimedJob, NewFile, NewJob
from service.store.writer import Writer

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKER = "worker-1"


def at(seconds: float) -> datetime:
    """Return the instant so many seconds after the start of every test."""
    return START + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Store:
    """One opened database, as one server has it."""

    database: Database
    writer: Writer
    jobs: Jobs
    files: Files

    async def queued(self, **changes: Any) -> str:
        """Add a job, and return its id."""
        new = new_job(**changes)
        await self.jobs.add(new)
        return new.id

    async def running(self, worker_id: str = WORKER, **changes: Any) -> ClaimedJob:
        """Add a job and claim it."""
        job_id = await self.queued(**changes)
        claimed = await self.jobs.claim(Claim(job_id, worker_id, at(0)))
        assert claimed is not None
        return claimed

    async def in_state(self, state: State, **changes: Any) -> str:
        """Add a job and put it straight into a state; attempt and worker fit, so that only the state can refuse."""
        job_id = await self.queued(**changes)
        ended = 0 if state in TERMINAL else None
        what = "UPDATE jobs SET state = ?, attempt = 1, worker_id = ?, finished_at = ? WHERE id = ?"
        self.sql(what, state.value, WORKER, ended, job_id)
        return job_id

    async def rescue(
        self, now: datetime, worker_id: str = "another-worker", *, max_losses: int = 5, delay_s: float = 0
    ) -> int:
        """Take all that runs from every worker but this one."""
        return await self.jobs.rescue(worker_id, now, 1000, max_losses, lambda _losses: delay_s)

    async def state(self, job_id: str) -> State:
        """Return the state of a job."""
        return State((await self.jobs.get(job_id)).job.state)

    async def reasons(self, job_id: str) -> list[str]:
        """Return why the job changed its state, in order."""
        return [event.data["reason"] for event in await self.jobs.list_events(job_id) if event.kind == "state"]

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Run a statement behind the store's back."""
        with closing(sqlite3.connect(self.database.path)) as connection, connection:
            return connection.execute(statement, values).fetchall()


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Store]:
    """Open a migrated database; several may be open on one file, as if by several processes."""
    database = Database(path)
    try:
        async with Writer(database.writes) as writer:
            yield Store(database, writer, Jobs(database, writer, Changes()), Files(database, writer))
    finally:
        await database.aclose()


def new_job(processor: str = "t.one", *, delay_s: float = 0, **changes: Any) -> NewJob:
    """Return a job to be added; `delay_s` puts it off."""
    values: dict[str, Any] = {
        "id": new_id(), "processor": processor, "params": {}, "metadata": {}, "priority": 0,
        "max_attempts": 3, "timeout_s": 60.0, "created_at": at(0), "run_after": at(delay_s),
    }  # fmt: skip
    return NewJob(**{**values, **changes})


def new_file(name: str = "a.txt") -> NewFile:
    """Return a file to be added."""
    return NewFile(new_id(), name, "text/plain", 3, "0" * 64, at(0))


def ids_of(records: Sequence[Any]) -> list[str]:
    """Return the ids of job records."""
    return [record.job.id for record in records]
