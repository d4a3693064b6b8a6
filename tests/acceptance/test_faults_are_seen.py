"""The invariants are checks that can fail: each fault, made by hand in a sound folder, is found."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance import invariants
from tests.chaos.inside import open_inside

AGAIN = "INSERT INTO events (job_id, at, kind, attempt, data) SELECT job_id, at, kind, attempt, data FROM events"
Found = Callable[[Path], object]

# what is done to the database, the check that must find it, and what it says
BY_SQL: dict[str, tuple[str, Found, str]] = {
    "too many attempts": ("UPDATE jobs SET attempt = 9, max_attempts = 3", invariants.broken_rows, "9 attempts of 3"),
    "no end": ("UPDATE jobs SET finished_at = NULL", invariants.broken_rows, "succeeded with finished_at None"),
    "a worker that is gone": ("UPDATE jobs SET worker_id = 'w'", invariants.broken_rows, "with worker w"),
    "outputs of a failure": ("UPDATE jobs SET state = 'failed', error = '{}'", invariants.broken_rows, "has outputs"),
    "a job that never ends": ("UPDATE jobs SET state = 'running'", invariants.unfinished, "is running"),
    "a second success": (
        f"{AGAIN} WHERE data ->> 'reason' = 'succeed'", invariants.broken_histories, "succeeded twice"),
    "a move that is missing": (
        "DELETE FROM events WHERE data ->> 'reason' = 'claim'", invariants.broken_histories, "submit (0), succeed"),
    "a row too many": ("UPDATE files SET id = 'x' || id", invariants.rows_without_bytes, "has a row and no bytes"),
    "a row too few": ("DELETE FROM files", invariants.bytes_without_row, "has bytes and no row"),
    "a file of nobody": ("DELETE FROM job_files", invariants.files_of_nobody, "belongs to no job"),
    "a reference to nothing": ("DELETE FROM files", invariants.database_faults, "foreign key check"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder in which one job has made one file."""
    data_dir = tmp_path_factory.mktemp("sound") / "data"
    with open_inside(data_dir) as service:
        made = {"processor": "t.write", "params": {"name": "a.txt"}}
        job = service.call("POST", "/v1/jobs", json=made, headers={"Prefer": "wait=20"}).json()
        assert job["state"] == "succeeded"
    return data_dir


@pytest.mark.parametrize("fault", BY_SQL)
def test_a_fault_in_the_database_is_found(sound, tmp_path, fault):
    statement, check, words = BY_SQL[fault]
    data_dir = tmp_path / "data"
    (data_dir / "files").mkdir(parents=True)
    for path in (sound / "files").iterdir():
        (data_dir / "files" / path.name).write_bytes(path.read_bytes())
    (data_dir / "filemill.db").write_bytes((sound / "filemill.db").read_bytes())
    assert list(check(data_dir)) == []  # type: ignore[call-overload]
    with contextlib.closing(sqlite3.connect(data_dir / "filemill.db")) as connection, connection:
        connection.execute(statement)
    assert words in "\n".join(map(str, check(data_dir)))  # type: ignore[call-overload]


def test_what_lies_about_is_found(sound):
    (boot,) = (sound / "incoming").iterdir()
    assert list(invariants.leftovers(sound)) == []
    (boot / "half").touch()
    (sound / "work" / "earlier").mkdir()
    found = "\n".join(invariants.leftovers(sound))
    assert "incoming holds" in found
    assert "work holds 2 starts" in found
