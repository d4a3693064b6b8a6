"""The connections: what they promise is in force on every one of them."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from service.store.database import BUSY_TIMEOUT_MS, Database

PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": BUSY_TIMEOUT_MS}


async def pragma(connection, name):
    return (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()


async def test_the_pragmas_are_in_force_where_it_is_read(store):
    async with store.database.reads.connect() as connection:
        assert {name: await pragma(connection, name) for name in PRAGMAS} == PRAGMAS
        assert await pragma(connection, "query_only") == 1


async def test_the_pragmas_are_in_force_where_it_is_written(database_path):
    database = Database(database_path)
    with database.writes.connect() as connection:
        assert {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in PRAGMAS} == PRAGMAS
        assert connection.execute(text("PRAGMA query_only")).scalar_one() == 0
    await database.aclose()


async def test_a_reader_cannot_write_at_all(store):
    with pytest.raises(OperationalError, match="readonly"):
        async with store.database.reads.begin() as connection:
            await connection.execute(text("DELETE FROM jobs"))


async def test_every_connection_of_the_pool_is_set_up(store):
    """All of them at once, so that none is given out twice."""
    connections = [store.database.reads.connect() for _ in range(4)]
    opened = await asyncio.gather(*(connection.start() for connection in connections))
    assert [await pragma(connection, "synchronous") for connection in opened] == [2] * 4
    assert [await pragma(connection, "query_only") for connection in opened] == [1] * 4
    await asyncio.gather(*(connection.close() for connection in opened))


async def test_there_is_one_connection_that_writes(database_path):
    database = Database(database_path)
    with database.writes.connect():
        second = asyncio.create_task(asyncio.to_thread(database.writes.connect))
        done, _ = await asyncio.wait([second], timeout=0.05)
        assert not done
    (await second).close()
    await database.aclose()


async def test_a_row_cannot_name_a_job_that_is_not_there(database_path):
    orphan = text("INSERT INTO events (job_id, at, kind, attempt, data) VALUES ('gone', 0, 'state', 0, '{}')")
    database = Database(database_path)
    with database.writes.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(orphan)
    await database.aclose()


async def test_a_transaction_that_writes_holds_the_lock_from_its_beginning(database_path):
    one, two = Database(database_path), Database(database_path)
    with one.writes.connect() as first, two.writes.connect() as second:
        first.execute(text("SELECT 1"))
        waiting = asyncio.create_task(asyncio.to_thread(second.execute, text("SELECT 1")))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        first.rollback()
        await waiting
    await one.aclose()
    await two.aclose()


async def test_readers_do_not_wait_for_a_writer(store):
    job_id = await store.queued()
    other = Database(store.database.path)
    with other.writes.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'failed'"))
        async with asyncio.timeout(60):
            assert (await store.jobs.get(job_id)).job.state == "queued"
    await other.aclose()


async def test_a_closed_database_leaves_no_log_behind(database_path):
    database = Database(database_path)
    with database.writes.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    await database.aclose()
    assert [path.name for path in database_path.parent.iterdir()] == ["filemill.db"]


async def test_a_relaxed_database_does_not_sync_each_commit(database_path):
    database = Database(database_path, durable=False)
    with database.writes.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 1
    await database.aclose()
