"""The one writer: many writes, one transaction, and each caller its own answer."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, text
from sqlalchemy.exc import IntegrityError, OperationalError

from service import lasting
from service.errors import DatabaseUnavailableError, ShuttingDownError
from service.store import writer as writer_module
from service.store.database import Database
from service.store.tables import keys
from service.store.writer import MAX_BATCH, AloneError, Writer
from tests.integration.stores import Store, at

HUGE = "x" * 200_000


def put(connection: Connection, items: Sequence[str]) -> Sequence[str]:
    """Add keys; some words fail in a way of their own."""
    if len(items) > 1 and "alone" in items:
        raise AloneError("one of them cannot be told from the others")
    if "raise" in items:
        raise ValueError("raise")
    rows = [{"key": item, "fingerprint": "", "created_at": at(0), "answer": {}} for item in items]
    connection.execute(insert(keys), rows)
    return [f"put {item}" for item in items]


def put_then_fail(connection: Connection, items: Sequence[str]) -> Sequence[str]:
    """Add keys, then fail: what was added must go again."""
    put(connection, items)
    raise ValueError(items[0])


def put_huge(connection: Connection, items: Sequence[str]) -> Sequence[str]:
    """Add keys with a lot of text, which may not fit."""
    rows = [{"key": item, "fingerprint": HUGE, "created_at": at(0), "answer": {}} for item in items]
    connection.execute(insert(keys), rows)
    return items


def set_limit(connection: Connection, items: Sequence[int]) -> Sequence[None]:
    """Let the file grow by so many pages, and no more."""
    pages = (connection.execute(text("PRAGMA page_count"))).scalar_one()
    connection.execute(text(f"PRAGMA max_page_count = {pages + items[0]}"))
    return [None] * len(items)


def written(store: Store) -> set[str]:
    return {key for (key,) in store.sql("SELECT key FROM idempotency_keys")}


async def write_all(store: Store, items: Sequence[str], statement: Any = put) -> list[Any]:
    return await asyncio.gather(*(store.writer.write(statement, item) for item in items), return_exceptions=True)


async def test_each_caller_gets_its_own_answer_once_it_is_committed(store):
    async def write(item: str) -> None:
        assert await store.writer.write(put, item) == f"put {item}"
        assert item in written(store)

    await asyncio.gather(*(write(f"k{n}") for n in range(30)))


async def test_writes_that_come_together_share_one_commit(store):
    await write_all(store, [f"k{n}" for n in range(100)])
    assert (store.writer.commits, store.writer.writes) == (1, 100)


async def test_a_write_that_comes_alone_is_committed_at_once(store):
    async with asyncio.timeout(60):
        for n in range(3):
            await store.writer.write(put, f"k{n}")
            assert store.writer.commits == n + 1


async def test_a_very_long_line_of_writers_is_taken_in_portions(store):
    items = [f"k{n:04}" for n in range(3 * MAX_BATCH + 1)]
    assert await write_all(store, items) == [f"put {item}" for item in items]
    assert store.writer.commits == 4


async def test_what_comes_while_a_commit_runs_goes_into_the_next_one(store):
    begun, go_on = threading.Event(), threading.Event()

    def slow(_connection: Connection, items: Sequence[None]) -> Sequence[None]:
        begun.set()
        assert go_on.wait(60)
        return items

    first = asyncio.create_task(store.writer.write(slow, None))
    await asyncio.to_thread(begun.wait)
    rest = [asyncio.create_task(store.writer.write(put, f"k{n}")) for n in range(50)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *rest)
    assert store.writer.commits == 2


# ---- failures


@pytest.mark.parametrize(("bad", "error"), [("k0", IntegrityError), ("raise", ValueError)])
async def test_one_bad_write_never_fails_its_neighbours(store, bad, error):
    good = [f"k{n}" for n in range(40)]
    answers = await write_all(store, [*good[:20], bad, *good[20:]])
    assert isinstance(answers.pop(20), error)
    assert answers == [f"put {item}" for item in good]
    assert written(store) == set(good)


async def test_several_bad_writes_each_get_their_own_error(store):
    bad = [asyncio.create_task(store.writer.write(put_then_fail, f"bad{n}")) for n in range(5)]
    good = await write_all(store, ["a", "b", "c"])
    errors = await asyncio.gather(*bad, return_exceptions=True)
    assert [str(error) for error in errors] == [f"bad{n}" for n in range(5)]
    assert good == ["put a", "put b", "put c"]
    assert written(store) == {"a", "b", "c"}


async def test_what_a_failed_write_had_added_is_undone(store):
    with pytest.raises(ValueError, match="half"):
        await store.writer.write(put_then_fail, "half")
    assert written(store) == set()


async def test_a_statement_may_ask_to_be_run_for_each_item_alone(store):
    assert await write_all(store, ["a", "alone", "b"]) == ["put a", "put alone", "put b"]


async def test_the_writer_goes_on_after_a_failure(store):
    await write_all(store, ["a", "a", "raise"])
    assert await store.writer.write(put, "b") == "put b"
    assert written(store) == {"a", "b"}


async def test_a_caller_that_goes_away_undoes_nothing_and_harms_nobody(store):
    tasks = [asyncio.create_task(store.writer.write(put, f"k{n}")) for n in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(3), asyncio.CancelledError)
    assert answers == [f"put k{n}" for n in range(10) if n != 3]
    assert written(store) == {f"k{n}" for n in range(10)}


async def test_a_caller_that_goes_away_before_its_write_fails_harms_nobody(store):
    bad = asyncio.create_task(store.writer.write(put_then_fail, "bad"))
    good = asyncio.create_task(store.writer.write(put, "good"))
    await asyncio.sleep(0)
    bad.cancel()
    assert await good == "put good"
    assert bad.cancelled()


# ---- a database that refuses


async def test_a_full_database_is_said_in_our_own_words_and_the_next_write_is_tried_again(store):
    await store.writer.write(set_limit, 3)
    with pytest.raises(DatabaseUnavailableError):
        await store.writer.write(put_huge, "a")
    await store.writer.write(set_limit, 10_000)
    assert await store.writer.write(put_huge, "b") == "b"
    assert written(store) == {"b"}


async def test_what_was_refused_is_not_there_and_what_was_answered_is(store):
    """SQLite may undo a whole transaction by itself when the disk is full, savepoints and all."""
    await store.writer.write(set_limit, 20)
    items = [("small1", put), ("huge", put_huge), ("small2", put), ("small3", put)]
    writes = (store.writer.write(statement, item) for item, statement in items)
    answers = await asyncio.gather(*writes, return_exceptions=True)
    kept = {item for (item, _), answer in zip(items, answers, strict=True) if not isinstance(answer, Exception)}
    assert isinstance(answers[1], DatabaseUnavailableError)
    assert written(store) == kept


async def test_a_database_that_another_program_locks_is_waited_for(store):
    await store.writer.write(put, "first")
    with closing(sqlite3.connect(store.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(store.writer.write(put, "a"))
        done, _ = await asyncio.wait([write], timeout=0.1)
        assert not done
        other.execute("COMMIT")
        async with asyncio.timeout(60):
            assert await write == "put a"


# ---- the end


async def test_closing_writes_what_still_waits_and_then_takes_no_more(database_path):
    database = Database(database_path)
    async with Writer(database.writes) as writer:
        waiting = [asyncio.create_task(writer.write(put, f"k{n}")) for n in range(2 * MAX_BATCH)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*waiting)) == 2 * MAX_BATCH
    with pytest.raises(ShuttingDownError):
        await writer.write(put, "late")
    await database.aclose()


async def test_readers_see_a_transaction_whole_or_not_at_all(store):
    """A job and its first event are committed together: nobody ever sees one without the other."""

    async def look() -> set[tuple[int, int]]:
        seen = set()
        async with store.database.reads.connect() as connection:
            for _ in range(30):
                counts = text("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM events)")
                seen.add(tuple((await connection.execute(counts)).one()))
                await connection.rollback()
        return seen

    async def add() -> None:
        for _ in range(5):
            await asyncio.gather(*(store.queued() for _ in range(10)))

    seen, _ = await asyncio.gather(look(), add())
    assert all(jobs == events for jobs, events in seen)


# ---- the transaction itself


async def test_a_commit_that_fails_is_not_tried_again(store):
    """After a failed fsync a second one may succeed, and the pages may be lost all the same."""
    begun = []

    @event.listens_for(store.database.writes, "commit")
    def refuse(_connection: Connection) -> None:
        begun.append(1)
        raise OperationalError("COMMIT", None, Exception("disk I/O error"))

    answers = await write_all(store, ["a", "b"])
    assert [type(answer) for answer in answers] == [DatabaseUnavailableError] * 2
    assert len(begun) == 1
    event.remove(store.database.writes, "commit", refuse)
    assert written(store) == set()
    assert await store.writer.write(put, "c") == "put c"


async def test_a_writer_that_is_cancelled_tells_all_who_wait_and_goes_on(store, monkeypatch):
    monkeypatch.setattr(lasting, "PAUSE_S", 0)
    committing, go = threading.Event(), threading.Event()

    def hold(_connection: Connection, items: Sequence[str]) -> list[str]:
        committing.set()
        go.wait(20)
        return [f"held {item}" for item in items]

    held = asyncio.create_task(store.writer.write(hold, "a"))
    await asyncio.to_thread(committing.wait, 20)
    waits = asyncio.create_task(store.writer.write(put, "b"))
    await asyncio.sleep(0)
    (writer,) = [task for task in asyncio.all_tasks() if task.get_name() == "writer"]
    writer.cancel()
    await asyncio.wait([writer])
    go.set()
    async with asyncio.timeout(20):
        assert [await held, await waits, await store.writer.write(put, "c")] == ["held a", "put b", "put c"]
    assert written(store) == {"b", "c"}
    assert not store.writer.is_lost


async def test_a_transaction_that_breaks_down_is_told_and_the_next_one_is_run(store, monkeypatch):
    def break_down(*_: Any) -> int:
        raise SystemError("no")

    with monkeypatch.context() as broken:
        broken.setattr(writer_module, "_commit", break_down)
        with pytest.raises(DatabaseUnavailableError, match="could not be run"):
            await store.writer.write(put, "a")
    assert await store.writer.write(put, "b") == "put b"


async def test_a_lock_that_cannot_be_had_is_waited_for_once(store):
    begins = []

    @event.listens_for(store.database.writes, "begin")
    def count(_connection: Connection) -> None:
        begins.append(1)
        raise OperationalError("BEGIN IMMEDIATE", None, Exception("database is locked"))

    answers = await write_all(store, ["a", "b"])
    assert [type(answer) for answer in answers] == [DatabaseUnavailableError] * 2
    assert len(begins) == 1
    event.remove(store.database.writes, "begin", count)
    assert await store.writer.write(put, "a") == "put a"


async def test_who_is_told_of_commits_cannot_stop_the_writer(database_path):
    def break_down(_writes: int) -> None:
        raise ValueError("no")

    database = Database(database_path)
    async with Writer(database.writes, break_down) as writer:
        assert await writer.write(put, "a") == "put a"
        assert await writer.write(put, "b") == "put b"
    await database.aclose()


async def test_a_writer_that_is_lost_refuses_all_writes_and_keeps_nobody_from_the_end(database_path, monkeypatch):
    database = Database(database_path)
    async with asyncio.timeout(60):
        async with Writer(database.writes) as writer:
            assert writer._task is not None
            waits = asyncio.create_task(writer.write(put, "a"))
            monkeypatch.setattr(writer._task, "_work", lambda: None)
            writer._task.task.cancel()
            await writer._task.ended()
            with pytest.raises(DatabaseUnavailableError):
                await writer.write(put, "b")
        with pytest.raises(DatabaseUnavailableError):
            await waits
