"""Migrations: up, down, up; and a database that is not ours to touch."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine
from sqlmodel import SQLModel

from service.errors import DatabaseMissingError, DatabaseTooNewError, StartError
from service.store import models  # noqa: F401 - fills SQLModel.metadata
from service.store.ids import new_id
from service.store.migrate import downgrade, migrations_folder, upgrade
from tests.integration.stores import at, open_store

TABLES = {"jobs", "files", "job_files", "events", "idempotency_keys"}
REVISIONS = sorted(path.name.split("_")[0] for path in migrations_folder().glob("versions/[0-9]*.py"))
HEAD = REVISIONS[-1]


def schema(path: Path) -> dict[str, str]:
    """Return the statements that make each table and each index, without their layout."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows if name != "alembic_version"}


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {name for (name,) in rows} - {"alembic_version"}


def test_migrations_go_up_down_and_up_again(tmp_path):
    path = tmp_path / "a.db"
    assert upgrade(path) == (None, HEAD)
    first = schema(path)
    assert tables(path) == TABLES
    assert downgrade(path, "base") == (HEAD, None)
    assert tables(path) == set()
    assert upgrade(path) == (None, HEAD)
    assert schema(path) == first


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_migration_can_be_undone_and_done_again(tmp_path, revision):
    path = tmp_path / "a.db"
    upgrade(path, revision)
    made = schema(path)
    downgrade(path, "-1")
    upgrade(path, revision)
    assert schema(path) == made


def test_a_database_that_is_up_to_date_is_left_as_it_is(database_path):
    before = database_path.read_bytes()
    assert upgrade(database_path) == (HEAD, HEAD)
    assert database_path.read_bytes() == before


def test_models_and_migrations_agree(database_path):
    engine = create_engine(f"sqlite:///{database_path}", poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_models_and_migrations_agree_on_partial_indexes_and_foreign_keys(database_path, tmp_path):
    """Alembic does not compare the conditions of indexes: the statements themselves do."""
    made = tmp_path / "made.db"
    engine = create_engine(f"sqlite:///{made}", poolclass=NullPool)
    SQLModel.metadata.create_all(engine)
    migrated, modelled = schema(database_path), schema(made)
    assert {name for name in migrated if name not in TABLES} == {name for name in modelled if name not in TABLES}
    assert {name: migrated[name] for name in migrated if name not in TABLES} == {
        name: modelled[name] for name in modelled if name not in TABLES
    }
    assert {name: rules(database_path, name) for name in TABLES} == {name: rules(made, name) for name in TABLES}


def rules(path: Path, table: str) -> list[tuple[object, ...]]:
    """Return the columns and the foreign keys of a table."""
    with closing(sqlite3.connect(path)) as connection:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
        links = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
    return sorted(columns) + sorted(link[2:] for link in links)


def test_files_that_were_unused_before_they_could_age_begin_to_age_at_the_migration(tmp_path):
    path = tmp_path / "a.db"
    upgrade(path, REVISIONS[REVISIONS.index("0003") - 1])
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, kept in (("lone", True), ("used", True), ("output", False)):
            values = (name, name, "text/plain", 1, "", kept, 0)
            columns = "id, name, media_type, size_bytes, sha256, kept, created_at"
            connection.execute(f"INSERT INTO files ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        connection.execute("INSERT INTO job_files VALUES ('job', 'input', 0, 'used')")
        before = connection.execute("SELECT strftime('%s') * 1000000").fetchone()[0]
    upgrade(path)
    with closing(sqlite3.connect(path)) as connection:
        moments = dict(connection.execute("SELECT id, last_used_at FROM files").fetchall())
    assert before <= moments.pop("lone") <= before + 3600 * 1_000_000
    assert moments == {"used": None, "output": None}


async def test_a_newer_database_is_refused_by_name_and_not_touched(database_path):
    async with open_store(database_path) as store:
        await store.queued()
        store.sql("UPDATE alembic_version SET version_num = '9999'")
    before = {path.name: path.read_bytes() for path in database_path.parent.iterdir()}
    with pytest.raises(DatabaseTooNewError, match=r"filemill\.db was written by a newer version.*9999"):
        await asyncio.to_thread(upgrade, database_path)
    assert {path.name: path.read_bytes() for path in database_path.parent.iterdir()} == before


def test_a_newer_database_is_not_migrated_down_either(database_path):
    with closing(sqlite3.connect(database_path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNewError):
        downgrade(database_path, "base")
    assert tables(database_path) == TABLES


def test_a_migration_that_fails_half_way_leaves_nothing(tmp_path):
    """Or the next start would stumble over the first half."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE idempotency_keys (other TEXT)")
    with pytest.raises(StartError, match="already exists"):
        upgrade(path)
    assert tables(path) == {"idempotency_keys"}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE idempotency_keys")
    assert upgrade(path) == (None, HEAD)


async def test_jobs_survive_a_migration_that_has_nothing_to_do(database_path):
    async with open_store(database_path) as store:
        job_id = await store.queued(params={"width": 1})
    await asyncio.to_thread(upgrade, database_path)
    async with open_store(database_path) as store:
        assert (await store.jobs.get(job_id)).job.params == {"width": 1}


async def test_a_job_that_ran_when_an_older_version_died_is_rescued_after_the_migration(tmp_path):
    path = tmp_path / "a.db"
    upgrade(path, "0001")
    row = {
        "id": new_id(), "processor": "t.one", "params": "{}", "metadata": "{}", "state": "running", "rank": 0,
        "scheduled": 0, "attempt": 1, "max_attempts": 1, "timeout_s": 60.0, "created_at": 0, "run_after": 0,
        "started_at": 0, "worker_id": "dead", "progress_fraction": 0.0, "progress_message": "",
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as connection, connection:
        names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
        connection.execute(f"INSERT INTO jobs ({names}) VALUES ({places})", row)  # noqa: S608 - names of this file
    upgrade(path)
    async with open_store(path) as store:
        assert await store.rescue(at(0)) == 1
        job = (await store.jobs.get(str(row["id"]))).job
        assert (job.state, job.attempt, job.losses) == ("queued", 0, 1)


def test_an_empty_folder_of_files_has_lost_no_database(tmp_path):
    (tmp_path / "files").mkdir()
    upgrade(tmp_path / "filemill.db")
    (tmp_path / "filemill.db").unlink()
    (tmp_path / "files" / "kept").touch()
    with pytest.raises(DatabaseMissingError):
        upgrade(tmp_path / "filemill.db")
