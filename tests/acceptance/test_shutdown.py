"""SIGTERM: what runs may finish within the grace, the rest goes back, and nobody is left behind."""

import hashlib
import http.client
import json
import signal
import threading
import time
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

import httpx
import pytest

from tests.acceptance import patient_processors
from tests.acceptance.invariants import bytes_without_row, leftovers, processes_of, require, require_sound, rows
from tests.acceptance.server import STOP_LIMIT_S, run_server

LANES = ("patient.loop", "patient.child")
BODY = bytes(range(256)) * 16 * 1024  # 4 MiB
HALF = len(BODY) // 2


@pytest.fixture
def go(tmp_path):
    """The file that lets the processors finish."""
    return tmp_path / "go"


@contextmanager
def patient_server(tmp_path, grace_s):
    place = Path(patient_processors.__file__)
    with run_server(
        tmp_path / "data", processors=place, child_processes=1, consumers=1, shutdown_grace_s=grace_s
    ) as server:
        yield server


def submit(server, processor, go, **headers):
    body = {"processor": processor, "params": {"path": str(go)}}
    answer = httpx.post(f"{server.url}/v1/jobs", json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()


def require_running(server, job_ids):
    """Wait until these jobs, and no others, run."""

    def strays():
        running = {row["id"] for row in rows(server.data_dir, "SELECT id FROM jobs WHERE state = 'running'")}
        return running ^ set(job_ids)

    require(strays, time.monotonic() + 20)


def job_rows(server):
    return {row["id"]: row for row in rows(server.data_dir, "SELECT * FROM jobs")}


def reasons(server, job_id):
    query = "SELECT data ->> 'reason' AS reason FROM events WHERE job_id = ? AND kind = 'state' ORDER BY id"
    return [row["reason"] for row in rows(server.data_dir, query, job_id)]


def test_jobs_that_run_finish_within_the_grace_and_those_that_wait_go_on_after_a_restart(tmp_path, go):
    with patient_server(tmp_path, grace_s=20) as server:
        running = [submit(server, lane, go)["id"] for lane in LANES]
        require_running(server, running)
        waiting = [submit(server, lane, go)["id"] for lane in LANES]
        server.process.send_signal(signal.SIGTERM)
        require_closed(server)
        go.touch()
        assert server.process.wait(STOP_LIMIT_S) == 0
        states = {job_id: (row["state"], row["attempt"]) for job_id, row in job_rows(server).items()}
        assert states == dict.fromkeys(running, ("succeeded", 1)) | dict.fromkeys(waiting, ("queued", 0))
        server.start()
        require_sound(server.url, server.data_dir, [*running, *waiting])


def test_jobs_that_exceed_the_grace_are_queued_again_and_their_attempt_does_not_count(tmp_path, go):
    with patient_server(tmp_path, grace_s=0.5) as server:
        jobs = [submit(server, lane, go)["id"] for lane in LANES]
        require_running(server, jobs)
        assert server.stop() == 0
        assert [(row["state"], row["attempt"]) for row in job_rows(server).values()] == [("queued", 0)] * 2
        assert processes_of(server.data_dir, [server.pid]) == []
        go.touch()
        server.start()
        require_sound(server.url, server.data_dir, jobs)
        for job_id in jobs:
            assert json.loads(str(job_rows(server)[job_id]["result"])) == 1
            assert reasons(server, job_id) == ["submit", "claim", "release", "claim", "succeed"]


def test_a_client_that_waits_for_a_job_is_answered_when_the_server_stops(tmp_path, go):
    with patient_server(tmp_path, grace_s=1) as server:
        answers = []
        waiter = threading.Thread(
            target=lambda: answers.append(submit(server, "patient.loop", go, Prefer="wait=60")), daemon=True
        )
        waiter.start()
        require(lambda: [] if job_rows(server) else ["no job has come"], time.monotonic() + 10)
        require_running(server, job_rows(server))
        assert server.stop() == 0
        waiter.join(STOP_LIMIT_S)
        assert [answer["state"] for answer in answers] == ["running"]


@pytest.mark.parametrize("uploads", [False, True], ids=["while jobs run", "while an upload is on its way too"])
def test_a_second_ctrl_c_ends_the_grace_and_still_puts_back_what_runs(tmp_path, go, uploads):
    with (
        patient_server(tmp_path, grace_s=STOP_LIMIT_S * 2) as server,
        begun_upload(server) if uploads else nullcontext(),
    ):
        jobs = [submit(server, lane, go)["id"] for lane in LANES]
        require_running(server, jobs)
        server.process.send_signal(signal.SIGINT)
        require_closed(server)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(STOP_LIMIT_S) == 0
        assert [(row["state"], row["attempt"]) for row in job_rows(server).values()] == [("queued", 0)] * 2
        assert processes_of(server.data_dir, [server.pid]) == []
        assert "Traceback" not in server.output


def test_ctrl_c_stops_an_idle_server_as_sigterm_does(tmp_path):
    with run_server(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(STOP_LIMIT_S) == 0
        assert processes_of(server.data_dir, [server.pid]) == []
        assert "Traceback" not in server.output
        assert not (server.data_dir / "server.json").exists()


def test_an_upload_on_its_way_may_finish_within_the_grace_and_is_accepted(tmp_path):
    with run_server(tmp_path / "data", shutdown_grace_s=20) as server, begun_upload(server) as connection:
        server.process.send_signal(signal.SIGTERM)
        require_closed(server)
        connection.send(BODY[HALF:])
        answer = connection.getresponse()
        assert answer.status == 202
        job = json.loads(answer.read())
        assert server.process.wait(STOP_LIMIT_S) == 0
        assert [(row["state"], row["attempt"]) for row in job_rows(server).values()] == [("queued", 0)]
        server.start()
        require_sound(server.url, server.data_dir, [job["id"]])
        (file,) = json.loads(job_rows(server)[job["id"]]["result"])["files"]
        assert file["digests"] == {"sha256": hashlib.sha256(BODY).hexdigest()}


def test_an_upload_that_exceeds_the_grace_is_given_up_and_leaves_nothing(tmp_path):
    with run_server(tmp_path / "data", shutdown_grace_s=1) as server, begun_upload(server) as upload:
        assert server.stop() == 0
        answer = upload.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (503, "shutting_down")
        assert "Traceback" not in server.output
        assert job_rows(server) == {}
        assert [*leftovers(server.data_dir), *bytes_without_row(server.data_dir)] == []
        assert processes_of(server.data_dir, [server.pid]) == []


def test_an_upload_that_stalls_takes_nothing_from_the_grace_of_the_jobs_nor_adds_to_it(tmp_path, go):
    with patient_server(tmp_path, grace_s=3) as server, begun_upload(server):
        jobs = [submit(server, lane, go)["id"] for lane in LANES]
        require_running(server, jobs)
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start >= 3
        assert [(row["state"], row["attempt"]) for row in job_rows(server).values()] == [("queued", 0)] * 2


@contextmanager
def begun_upload(server):
    """A connection on which half of a body has been sent and has reached the disk."""
    url = httpx.URL(server.url)
    connection = http.client.HTTPConnection(url.host, url.port, timeout=STOP_LIMIT_S)
    with closing(connection):
        connection.putrequest("POST", "/v1/jobs?processor=file.checksum&filename=half.bin")
        connection.putheader("Content-Length", str(len(BODY)))
        connection.putheader("Content-Type", "application/octet-stream")
        connection.endheaders(BODY[:HALF])
        require(lambda: [] if list(leftovers(server.data_dir)) else ["no upload has begun"], time.monotonic() + 10)
        yield connection


def require_closed(server):
    """Wait until the server has closed its door: from then on it claims nothing."""

    def open_door():
        with suppress(httpx.TransportError):
            return [f"{server.url} answers {httpx.get(f'{server.url}/livez', trust_env=False).status_code}"]
        return []

    require(open_door, time.monotonic() + 10)
