"""Statements run by the driver itself: the same values, the same errors as through SQLAlchemy."""

import sqlite3
from typing import Any

import pytest
from sqlalchemy import bindparam, event, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from service.store.database import Database
from service.store.prepared import Prepared
from service.store.tables import jobs, keys
from tests.integration.stores import at, new_job

JSON: dict[str, Any] = {"text": "äö\u2028", "none": None, "list": [1, 2.5, True], "deep": {"a": {}}}


def key(name, answer=None):
    return {"key": name, "fingerprint": "f", "created_at": at(1.5), "answer": answer or JSON}


@pytest.fixture
def connection(database_path):
    database = Database(database_path)
    with database.writes.connect() as connection:
        yield connection
    database.writes.dispose()


def test_what_is_written_and_read_is_what_sqlalchemy_writes_and_reads(connection):
    assert Prepared(insert(keys)).run(connection, [key("ours"), key("second")]) == 2
    connection.execute(insert(keys), [key("theirs")])
    raw = connection.exec_driver_sql("SELECT fingerprint, created_at, answer FROM idempotency_keys").all()
    assert len(raw) == 3
    assert len(set(raw)) == 1
    statement = select(keys).where(keys.c.key == bindparam("name"))
    for name in ("ours", "theirs"):
        assert Prepared(statement).fetch(connection, [{"name": name}]) == [[name, "f", at(1.5), JSON]]


def test_values_of_the_statement_and_of_the_row_come_together(connection):
    names = Prepared(insert(keys))
    names.run(connection, [key("a"), key("b"), key("c")])
    change = Prepared(
        update(keys).where(keys.c.key == bindparam("name")).values(answer={"fixed": 1}, fingerprint=bindparam("new"))
    )
    assert change.run(connection, [{"name": "a", "new": "1"}, {"name": "gone", "new": "2"}]) == 1
    assert change.run(connection, []) == 0
    rows = connection.exec_driver_sql("SELECT key, fingerprint, answer FROM idempotency_keys ORDER BY key").all()
    assert rows[0] == ("a", "1", '{"fixed":1}')
    assert rows[1][1] == "f"


def test_an_update_that_returns_gives_the_rows_that_it_changed(connection):
    row = new_job()
    facts = {
        "id": row.id, "processor": "t", "params": JSON, "metadata": {}, "state": "queued", "rank": 0,
        "scheduled": False, "attempt": 0, "max_attempts": 1, "timeout_s": 1.5, "created_at": at(0),
        "run_after": at(0), "progress_fraction": 0.0, "progress_message": "",
    }  # fmt: skip
    Prepared(insert(jobs)).run(connection, [facts])
    claim = Prepared(
        update(jobs)
        .where(jobs.c.id == bindparam("job"))
        .values(started_at=bindparam("now"))
        .returning(jobs.c.params, jobs.c.started_at, jobs.c.scheduled, jobs.c.timeout_s, jobs.c.result)
    )
    found = claim.fetch(connection, [{"job": "gone", "now": at(1)}, {"job": row.id, "now": at(2)}])
    assert found == [[JSON, at(2), False, 1.5, None]]
    assert claim.fetch(connection, []) == []


def test_errors_are_those_of_sqlalchemy_and_leave_nothing_open(connection):
    add = Prepared(insert(keys))
    add.run(connection, [key("a")])
    connection.exec_driver_sql("SAVEPOINT before")
    with pytest.raises(IntegrityError, match="idempotency_keys") as caught:
        add.run(connection, [key("b"), key("a")])
    assert isinstance(caught.value.orig, sqlite3.IntegrityError)
    assert "fingerprint" in str(caught.value)
    assert "\u2028" not in str(caught.value), "parameters may be secret"
    connection.exec_driver_sql("ROLLBACK TO before")
    connection.exec_driver_sql("RELEASE before")
    assert connection.exec_driver_sql("SELECT count(*) FROM idempotency_keys").scalar_one() == 1
    connection.exec_driver_sql("DROP TABLE idempotency_keys")
    with pytest.raises(OperationalError, match="no such table"):
        Prepared(select(keys.c.key).where(keys.c.key == bindparam("name"))).fetch(connection, [{"name": "a"}])


async def test_the_writer_keeps_its_connection_until_something_goes_wrong(store):
    opened = []

    @event.listens_for(store.database.writes, "checkout")
    def note(_driver, _record, _proxy):
        opened.append(1)

    for _ in range(5):
        await store.queued()
    assert len(opened) <= 1
    before = len(opened)
    with pytest.raises(IntegrityError):
        await store.writer.write(_add_twice, "same")
    await store.queued()
    await store.queued()
    assert len(opened) == before + 1
    event.remove(store.database.writes, "checkout", note)


def _add_twice(connection, items):
    Prepared(insert(keys)).run(connection, [key(item) for item in (*items, *items)])
    return [None] * len(items)
