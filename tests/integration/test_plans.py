"""The plans of the statements that the service really runs: each finds its rows by an index.

The SQL is taken from the connections while the service works, and explained afterwards: no copy of it can grow old.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Connection, event

from service.states import Move, State
from service.store.control import Staging
from service.store.files import FileFilter
from service.store.ids import new_id
from service.store.listing import JobFilter
from service.store.records import Advance, Claim, FirstAnswer, Settlement
from tests.integration.stores import WORKER, Store, at, new_file, new_job

# partial indexes that hold the few rows in play: to read one from end to end is as good as a search
SMALL = ("jobs_running", "jobs_scheduled")
TABLES = ("jobs", "files", "job_files", "events", "idempotency_keys")


@dataclass(slots=True)
class Heard:
    """What was run, with its parameters."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def plans(self, store: Store) -> list[tuple[str, list[str]]]:
        """Return each statement with the steps by which SQLite carries it out."""
        with closing(sqlite3.connect(store.database.path)) as connection:
            return [(sql, _steps(connection, sql, values)) for sql, values in self.statements]


def _steps(connection: sqlite3.Connection, sql: str, values: Any) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@asynccontextmanager
async def heard(store: Store) -> AsyncIterator[Heard]:
    """Take down what the store runs meanwhile; what it writes is heard from SQLite, with its parameters filled in."""
    found = Heard()

    def take(sql: str, values: Any = ()) -> None:
        if sql.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
            found.statements.append((sql, values))

    def trace(connection: Connection, items: Sequence[Any]) -> Sequence[None]:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(items[0])
        return [None]

    def take_look(_connection: Any, _cursor: Any, sql: str, values: Any, _context: Any, many: bool) -> None:  # noqa: FBT001 - the event's signature
        take(sql, values[0] if many else values)

    reads = store.database.reads.sync_engine
    event.listen(reads, "before_cursor_execute", take_look)
    await store.writer.write(trace, take)
    yield found
    await store.writer.write(trace, None)
    event.remove(reads, "before_cursor_execute", take_look)


def scans(steps: list[str]) -> list[str]:
    """Return the steps that read a whole table, or a whole index that can be large."""
    whole = [step for step in steps if step.startswith("SCAN") and step.split()[1] in TABLES]
    return [step for step in whole if not step.endswith(SMALL)]


def sorts(steps: list[str]) -> list[str]:
    """Return the steps that put rows in order because no index does."""
    return [step for step in steps if "TEMP B-TREE" in step]


async def settle(store: Store) -> None:
    job = await store.running()
    settlement = Settlement(job.id, WORKER, 1, Move.SUCCEED, at(1), outputs=(new_file(), new_file()))
    await store.jobs.settle(settlement)


async def advance(store: Store) -> None:
    job = await store.running()
    await store.jobs.advance(Advance(job.id, WORKER, 1, fraction=0.5, message="half"))


async def submit(store: Store) -> None:
    stored = new_file()
    await store.files.keep(stored, FirstAnswer("file key", ""))
    await store.jobs.add(new_job(uploads=(new_file(),), stored=(stored,), first_answer=FirstAnswer("job key", "")))


async def claim(store: Store) -> None:
    job_id = await store.queued(uploads=(new_file(),))
    await store.jobs.claim(Claim(job_id, WORKER, at(1)))


async def cancel(store: Store) -> None:
    await store.jobs.cancel(await store.queued(), at(1))


async def retry(store: Store) -> None:
    await store.jobs.retry(await store.in_state(State.FAILED), at(1))


async def delete(store: Store) -> None:
    await store.files.delete_with_jobs([await store.queued(uploads=(new_file(),))])


async def prune(store: Store) -> None:
    await store.in_state(State.FAILED, uploads=(new_file(),))
    await store.files.delete_with_jobs(await store.jobs.list_expired(at(1), 10))
    await store.files.prune_answers(at(1))
    await store.files.keep(new_file())
    await store.files.delete_unused(at(1), 10)


async def stage(store: Store) -> None:
    await store.queued(delay_s=5)
    await store.jobs.find_next_due()
    await store.jobs.stage(Staging(at(5), 10))
    await store.jobs.stage(Staging(at(5), 10, one_from=1, processors=("t.one", "t.two")))
    await store.jobs.list_ready(["t.one", "t.two"], 10)


async def rescue(store: Store) -> None:
    await store.running()
    await store.running()
    store.sql("UPDATE jobs SET losses = 4 WHERE rowid = 1")
    await store.rescue(at(1))


async def release(store: Store) -> None:
    await store.running()
    await store.jobs.release(WORKER, at(1))


async def look(store: Store) -> None:
    job_id = await store.queued(uploads=(new_file(),))
    await store.jobs.get(job_id)
    await store.jobs.list_events(job_id, after_id=1)
    await store.jobs.find_answer("key")
    await store.files.find_many([new_id(), new_id()])


async def delete_file(store: Store) -> None:
    file = new_file()
    await store.files.keep(file)
    await store.files.delete(file.id)


DUTIES = [submit, claim, advance, settle, cancel, retry, delete, delete_file, prune, stage, rescue, release, look]


@pytest.mark.parametrize("duty", DUTIES, ids=lambda duty: duty.__name__)
async def test_no_statement_of_the_service_reads_a_whole_table(store, duty):
    async with heard(store) as found:
        await duty(store)
    assert found.statements
    assert {sql: scans(steps) for sql, steps in found.plans(store) if scans(steps)} == {}


FILTERS = {
    "all": {},
    "next_page": {"before_id": new_id()},
    **{f"state_{state}": {"state": state} for state in State},
    **{f"state_{state}_next_page": {"state": state, "before_id": new_id()} for state in State},
    "processor": {"processor": "t.one"},
    "processor_next_page": {"processor": "t.one", "before_id": new_id()},
    "created_after": {"created_after": at(0)},
    "created_before": {"created_before": at(0)},
    "created_between": {"created_after": at(0), "created_before": at(1)},
    "state_and_time": {"state": State.FAILED, "created_after": at(0), "created_before": at(1)},
    "processor_and_time": {"processor": "t.one", "created_after": at(0)},
    "state_and_processor": {"state": State.FAILED, "processor": "t.one"},
}


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS.keys())
async def test_a_page_is_found_by_an_index_and_comes_in_order(store, wanted):
    await store.queued()
    async with heard(store) as found:
        await store.jobs.list_page(JobFilter(**wanted))
    (_, first), *rest = found.plans(store)
    if wanted:
        assert scans(first) == []
    else:
        assert scans(first) == ["SCAN jobs USING INDEX sqlite_autoindex_jobs_1"]  # stops after a page
    assert sorts(first) == []
    assert [step for _, steps in rest for step in scans(steps)] == []


FILE_FILTERS = {
    "all": {},
    "next_page": {"before_id": new_id()},
    "unused": {"unused": True},
    "unused_next_page": {"unused": True, "before_id": new_id()},
    "used_next_page": {"unused": False, "before_id": new_id()},
    "created_between": {"created_after": at(0), "created_before": at(1)},
}


@pytest.mark.parametrize("wanted", FILE_FILTERS.values(), ids=FILE_FILTERS.keys())
async def test_a_page_of_files_is_found_by_an_index_and_comes_in_order(store, wanted):
    await store.files.keep(new_file())
    async with heard(store) as found:
        await store.files.list_page(FileFilter(**wanted))
    (_, first), (_, second) = found.plans(store)
    whole = {"SCAN files USING INDEX sqlite_autoindex_files_1", "SCAN files USING INDEX files_unused_by_id"}
    assert whole.issuperset(scans(first))  # which stops after a page
    assert (sorts(first), scans(second)) == ([], [])


async def test_the_longest_unused_files_come_in_order_from_their_index(store):
    await store.files.keep(new_file())
    async with heard(store) as found:
        await store.files.delete_unused(at(1), 10)
    steps = [step for _, steps in found.plans(store) for step in steps]
    assert "SEARCH files USING INDEX files_unused (last_used_at<?)" in steps
    assert [step for step in steps if "TEMP B-TREE" in step] == []


async def test_the_next_jobs_to_run_come_in_order_from_the_index_of_what_is_ready(store):
    async with heard(store) as found:
        await store.jobs.list_ready(["t.one"], 10)
    ((_, steps),) = found.plans(store)
    assert steps == ["SEARCH jobs USING INDEX jobs_ready (processor=?)"]


async def test_the_next_due_the_longest_finished_and_the_last_chances_come_from_their_indexes(store):
    async with heard(store) as found:
        await store.jobs.find_next_due()
        await store.jobs.list_expired(at(0), 10)
        await store.jobs.stage(Staging(at(0), 10, one_from=4, processors=("t.one",)))
    steps = [step for _, steps in found.plans(store) for step in steps]
    assert steps == [
        "SEARCH jobs USING INDEX jobs_scheduled (state=?)",
        "SEARCH jobs USING INDEX jobs_finished (finished_at<?)",
        "SEARCH jobs USING INDEX sqlite_autoindex_jobs_1 (id=?)",
        "LIST SUBQUERY 1",
        "SEARCH jobs USING INDEX jobs_scheduled (state=? AND run_after<?)",
        "SEARCH jobs USING INDEX jobs_lost (state=? AND losses>?)",
    ]


def test_every_column_that_a_deletion_follows_has_an_index(database_path):
    """SQLite looks for the rows that point to a deleted one; no plan shows it."""
    with closing(sqlite3.connect(database_path)) as connection:
        for table in TABLES:
            firsts = first_columns(connection, table)
            columns = {row[3] for row in connection.execute(f"PRAGMA foreign_key_list({table})")}
            assert columns <= firsts, table


def first_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """Return the columns that an index of the table begins with."""
    names = [row[1] for row in connection.execute(f"PRAGMA index_list({table})")]
    return {connection.execute(f"PRAGMA index_info({name})").fetchone()[2] for name in names}


def test_a_plan_that_reads_a_whole_table_would_be_noticed(database_path):
    with closing(sqlite3.connect(database_path)) as connection:
        whole = _steps(connection, "SELECT id FROM jobs WHERE timeout_s > ? ORDER BY timeout_s", (1,))
        update = _steps(connection, "UPDATE jobs SET rank = 0 WHERE attempt = ?", (1,))
    assert (len(scans(whole)), len(sorts(whole)), len(scans(update))) == (1, 1, 1)
