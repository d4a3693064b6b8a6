"""A database that is locked, deleted, replaced or damaged: what a user sees, and that nothing is lost by it."""

import contextlib
import os
import shutil
import sqlite3
import threading
import time

import httpx
import pytest

from tests.acceptance.invariants import require_sound, rows
from tests.acceptance.server import STOP_LIMIT_S, run_server
from tests.web.answers import assert_problem

BODY = os.urandom(100_000)
PAGE = 4096


@pytest.fixture
def server(tmp_path):
    with run_server(tmp_path / "data", shutdown_grace_s=1) as server:
        yield server


@pytest.fixture
def database(server):
    return server.data_dir / "filemill.db"


def post(server, body=BODY):
    url = f"{server.url}/v1/jobs?processor=file.checksum"
    return httpx.post(url, content=body, headers={"Prefer": "wait=20"}, trust_env=False, timeout=60)


def get(server, path):
    return httpx.get(server.url + path, trust_env=False, timeout=60)


def accepted(server):
    answer = post(server)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def refused_start(server):
    """Start it, and return what it says instead."""
    before = len(server.output)
    server.spawn()
    assert server.process.wait(STOP_LIMIT_S) == 1
    said = server.output[before:]
    assert "Traceback" not in said
    return " ".join(said.split())


def test_while_another_process_locks_the_database_submissions_wait_and_everything_else_goes_on(server, database):
    job_id = accepted(server)
    release = threading.Event()
    locker = threading.Thread(target=hold_lock, args=[database, release])
    locker.start()
    answers = []
    client = threading.Thread(target=lambda: answers.append(post(server)))
    try:
        wait_until(lambda: is_locked(database))
        client.start()
        for path in ("/livez", "/v1/jobs", f"/v1/jobs/{job_id}", "/v1/stats"):
            assert get(server, path).status_code == 200
        assert client.is_alive()
        assert answers == []
    finally:
        release.set()
        locker.join()
        client.join()
    assert [answer.status_code for answer in answers] == [202]
    require_sound(server.url, server.data_dir, [job_id, answers[0].json()["id"]])


def hold_lock(database, release):
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        release.wait(100)
        connection.execute("ROLLBACK")


def is_locked(database):
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_database_deleted_or_replaced_under_the_server_is_noticed_before_anything_more_is_accepted(server, subtests):
    jobs = [accepted(server)]
    kept = server.data_dir / "kept"
    for name in ("filemill.db", "filemill.db-wal"):
        path = server.data_dir / name
        for fault in ("deleted", "replaced"):
            with subtests.test(name=name, fault=fault):
                path.rename(kept)
                if fault == "replaced":
                    shutil.copy(kept, path)
                problem = assert_problem(post(server), 503, "database_unavailable")
                assert f"the file {name} was deleted or replaced while the server ran" in problem["detail"]
                assert "was deleted or replaced" in server.readiness(503)["database"]
                assert get(server, "/livez").status_code == 200
                kept.replace(path)
                jobs.append(accepted(server))
    require_sound(server.url, server.data_dir, jobs)


def test_a_database_that_is_missing_or_damaged_is_refused_at_the_start_and_nothing_is_made_or_deleted(
    server, database, subtests
):
    job_id = accepted(server)
    server.stop()
    files = sorted((server.data_dir / "files").iterdir())
    assert files
    database.rename(kept := database.with_name("kept"))
    missing = (f"the database {database} is missing", "put it back from a backup")
    malformed = ("cannot be used", "database disk image is malformed")
    for case, make, words in (
        ("missing", lambda: None, missing),
        ("empty", database.touch, missing),
        ("all of it is damaged", lambda: damage(shutil.copy(kept, database)), malformed),
        ("a table is damaged", lambda: damage(shutil.copy(kept, database), root_page(kept, "jobs") - 1), malformed),
    ):
        with subtests.test(case=case):
            make()
            before = database.read_bytes() if database.exists() else None
            said = refused_start(server)
            assert [word for word in words if word not in said] == []
            assert (database.read_bytes() if database.exists() else None) == before
            assert sorted((server.data_dir / "files").iterdir()) == files
    kept.replace(database)
    server.start()
    require_sound(server.url, server.data_dir, [job_id])


def damage(database, first_page=1):
    """Overwrite every page from here on."""
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(first_page * PAGE)
        file.write(b"\xa5" * (size - first_page * PAGE))


def root_page(database, table):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()[0]


def test_a_database_damaged_under_the_server_is_a_503_for_reads_and_writes(server, database):
    job_id = accepted(server)
    assert rows(server.data_dir, "SELECT id FROM jobs") == [{"id": job_id}]
    for name in ("filemill.db", "filemill.db-wal"):
        damage(database.with_name(name), 0)
    answers = [get(server, f"/v1/jobs/{job_id}"), get(server, "/v1/jobs"), get(server, "/v1/stats"), post(server)]
    refused = [answer for answer in answers if not answer.is_success]  # what is in SQLite's memory is still right
    assert refused
    for answer in refused:
        assert "the database refused" in assert_problem(answer, 503, "database_unavailable")["detail"]
    assert get(server, "/livez").status_code == 200
