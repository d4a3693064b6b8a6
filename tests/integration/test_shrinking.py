"""The file of the database shrinks when what it held has gone."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from service.cli import app
from service.settings import Settings
from service.states import State
from service.storage.local import LocalStorage
from service.store.migrate import upgrade
from service.store.shrinking import SLICE_PAGES, make_shrinkable
from service.worker.pruner import Pruner
from tests.integration.stores import open_store
from tests.integration.test_migrations import REVISIONS

NONE, INCREMENTAL = 0, 2


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def make_old(path: Path) -> None:
    """Write the database as one was written before it could shrink."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("VACUUM")
    assert pragma(path, "auto_vacuum") == NONE


@pytest.fixture
def old_database(tmp_path: Path) -> Path:
    """A database of the version before the last migration, which cannot shrink."""
    path = tmp_path / "filemill.db"
    upgrade(path, REVISIONS[-2])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO idempotency_keys VALUES ('key', 'print', 0, '{}')")
    make_old(path)
    return path


async def test_the_file_is_smaller_when_many_jobs_were_pruned(database_path, tmp_path, clock):
    async with open_store(database_path) as store:
        young = await store.queued()
        for _ in range(30):
            await store.in_state(State.SUCCEEDED, metadata={"text": "x" * 200_000})
        store.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        large, pages = database_path.stat().st_size, pragma(database_path, "page_count")
        assert pages > 5 * SLICE_PAGES
        clock.advance(1000)
        storage = LocalStorage(tmp_path, "boot")
        await Pruner(store.jobs, store.files, storage, Settings(retention_s=100), clock).prune()
        assert pragma(database_path, "freelist_count") <= SLICE_PAGES
        assert pragma(database_path, "page_count") < pages - 4 * SLICE_PAGES
        assert await store.state(young) is State.QUEUED
    assert database_path.stat().st_size < large / 2
    assert integrity(database_path) == "ok"


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


async def test_no_write_waits_for_more_than_a_slice(store):
    for _ in range(20):
        await store.in_state(State.SUCCEEDED, metadata={"text": "x" * 200_000})
    await store.files.delete_with_jobs([row[0] for row in store.sql("SELECT id FROM jobs")])
    free = pragma(store.database.path, "freelist_count")
    slices = []
    while given_back := await store.files.shrink():
        slices.append(given_back)
        assert pragma(store.database.path, "freelist_count") == free - sum(slices)
    assert len(slices) > 1
    assert max(slices) == SLICE_PAGES
    assert free - sum(slices) == SLICE_PAGES  # some stay for the next rows


async def test_a_database_that_cannot_shrink_is_pruned_as_ever(database_path):
    make_old(database_path)
    async with open_store(database_path) as store:
        for _ in range(20):
            await store.in_state(State.SUCCEEDED, metadata={"text": "x" * 200_000})
        await store.files.delete_with_jobs([row[0] for row in store.sql("SELECT id FROM jobs")])
        assert pragma(database_path, "freelist_count") > SLICE_PAGES
        assert await store.files.shrink() == 0


def test_a_new_database_can_shrink(tmp_path):
    upgrade(tmp_path / "a.db")
    assert pragma(tmp_path / "a.db", "auto_vacuum") == INCREMENTAL


def test_an_old_database_is_written_anew_when_it_is_migrated_and_loses_nothing(old_database):
    upgrade(old_database)
    assert pragma(old_database, "auto_vacuum") == INCREMENTAL
    with closing(sqlite3.connect(old_database)) as connection:
        assert connection.execute("SELECT key FROM idempotency_keys").fetchall() == [("key",)]


def test_without_room_an_old_database_is_left_as_it_is_and_that_is_said(old_database, monkeypatch):
    usage = shutil.disk_usage(old_database.parent)
    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(shutil, "disk_usage", lambda _place: usage._replace(free=1024**2))
        upgrade(old_database)
    assert [one["event"] for one in logs] == ["no room to write the database anew, so it cannot shrink"]
    assert pragma(old_database, "auto_vacuum") == NONE


def test_a_start_that_migrates_nothing_does_not_begin_to_write_anew_but_the_command_does(old_database):
    upgrade(old_database)
    make_old(old_database)
    upgrade(old_database)
    assert pragma(old_database, "auto_vacuum") == NONE
    result = CliRunner().invoke(app, ["migrate", "--data-dir", str(old_database.parent)])
    assert (result.exit_code, pragma(old_database, "auto_vacuum")) == (0, INCREMENTAL)


def test_what_refuses_to_be_written_anew_is_left_as_it_is(old_database):
    with closing(sqlite3.connect(old_database, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM idempotency_keys").fetchone()
        with structlog.testing.capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
            connect = sqlite3.connect
            patch.setattr(sqlite3, "connect", lambda path, **options: connect(path, timeout=0, **options))
            make_shrinkable(old_database)
    assert logs[-1]["event"] == "database could not be written anew, so it cannot shrink"
    assert "locked" in logs[-1]["error"]
    assert pragma(old_database, "auto_vacuum") == NONE
