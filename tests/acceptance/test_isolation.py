"""Hostile processors in a real server: each comes to its own end, and its neighbours do not notice."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from service.worker.family import descendants
from tests import processors_for_tests
from tests.acceptance import stubborn_processors
from tests.acceptance.invariants import processes_of, require, require_sound, rows
from tests.acceptance.server import run_server

PLACE = Path(processors_for_tests.__file__)
CHILDREN = 2
LIMIT_BYTES = 192 * 1024**2
GOOD_JOBS = 50
PATIENCE_S = 60
ALL_LIMIT_S = 120


class Hostile(NamedTuple):
    """A job that does harm, the limit that it has, and how it must end."""

    processor: str
    params: dict[str, Any]
    timeout_s: float
    code: str
    facts: dict[str, Any]


HOSTILE = (
    Hostile("t.loop", {"stubborn": True}, 1.5, "timed_out", {}),
    Hostile("t.allocate", {}, 200, "out_of_memory", {}),
    Hostile("t.exit", {"code": 3}, 200, "crashed", {"exit_code": 3}),
    Hostile("t.segfault", {}, 200, "crashed", {"signal": "SIGSEGV"}),
    Hostile("t.print_gigabyte", {"fail": True}, 200, "failed", {}),
    Hostile("t.grandchild", {"stubborn": True}, 1.5, "timed_out", {}),
    Hostile("t.daemon", {"stay": True}, 1.5, "timed_out", {}),
)


@contextmanager
def open_server(tmp_path):
    with (
        run_server(
            tmp_path / "data",
            processors=PLACE,
            retry_base_s=0.05,
            child_processes=CHILDREN,
            job_memory_limit_bytes=LIMIT_BYTES,
        ) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as api,
    ):
        yield server, api


def submit(api, processor, **fields):
    answer = api.post("/v1/jobs", json={"processor": processor, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def finished(api, job_id):
    """Wait for the end of a job."""
    deadline = time.monotonic() + ALL_LIMIT_S
    while (job := api.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"}).json())["finished_at"] is None:
        assert time.monotonic() < deadline, job
    return job


def log_of(server, job_id):
    """The log lines of a job."""
    events = rows(server.data_dir, "SELECT job_id, data FROM events WHERE kind = 'log' ORDER BY id")
    return [json.loads(event["data"]) for event in events if event["job_id"] == job_id]


def logged_pids(server, job_id):
    """The processes that a job said it consists of."""
    names = {"pid", "grandchild", "daemon"}
    return [pid for line in log_of(server, job_id) for name, pid in line["fields"].items() if name in names]


@pytest.mark.timeout(300)
def test_each_hostile_processor_ends_with_its_own_code_and_the_jobs_beside_it_succeed(tmp_path):
    with open_server(tmp_path) as (server, api):
        hostile: list[str] = []
        good: list[str] = []
        for number in range(GOOD_JOBS):
            if number % 7 == 0 and len(hostile) < len(HOSTILE):
                one = HOSTILE[len(hostile)]
                hostile.append(submit(api, one.processor, params=one.params, timeout_s=one.timeout_s, max_attempts=1))
            good.append(submit(api, "t.write", params={"text": f"text {number}"}))

        with ThreadPoolExecutor(4) as threads:
            ended = list(threads.map(lambda job_id: finished(api, job_id), hostile))
            fine = list(threads.map(lambda job_id: finished(api, job_id), good))
        for one, job in zip(HOSTILE, ended, strict=True):
            assert (job["state"], job["error"]["code"]) == ("failed", one.code), (one.processor, job["error"])
            assert job["error"]["message"]
            assert one.facts.items() <= job["error"].items()
        assert {job["state"] for job in fine} == {"succeeded"}

        started = [pid for job_id in hostile for pid in logged_pids(server, job_id)]
        assert len(started) == 5
        printed = log_of(server, hostile[4])
        assert printed[-1]["message"] == "the last line"
        assert sum(len(line["message"]) for line in printed) < 512 * 1024

        require(lambda: strangers(server, started), time.monotonic() + PATIENCE_S)
        require_sound(server.url, server.data_dir, [*hostile, *good])
        assert server.stop() == 0
        assert processes_of(server.data_dir, [server.pid]) == []


def strangers(server, pids):
    """Processes that jobs have started, and more children than there should be, each with its keeper."""
    left = descendants(server.pid)
    wrong = [f"process {pid} is left" for pid in pids if Path(f"/proc/{pid}").exists()]
    return [*wrong, f"{len(left)} processes below the server"] if wrong or len(left) > 2 * CHILDREN else []


def test_a_job_whose_child_always_crashes_uses_up_its_attempts_and_a_running_one_can_be_cancelled(tmp_path):
    with open_server(tmp_path) as (server, api):
        crashing = submit(api, "t.exit", params={"code": 3}, max_attempts=3)
        looping = submit(api, "t.loop", params={"stubborn": True})
        job = finished(api, crashing)
        assert (job["attempt"], job["error"]["code"]) == (3, "crashed")
        require(lambda: [] if log_of(server, looping) else ["it has not begun"], time.monotonic() + 20)
        (line,) = log_of(server, looping)
        assert api.post(f"/v1/jobs/{looping}/cancel").status_code == 200
        job = finished(api, looping)
        assert (job["state"], job["error"]["code"]) == ("cancelled", "cancelled")
        require(lambda: strangers(server, [line["fields"]["pid"]]), time.monotonic() + PATIENCE_S)
        require_sound(server.url, server.data_dir, [crashing, looping])


def test_not_even_a_processor_that_swallows_all_holds_up_the_end_of_the_server(tmp_path):
    place = Path(stubborn_processors.__file__)
    with (
        run_server(tmp_path / "data", processors=place, shutdown_grace_s=0.2) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as api,
    ):
        job_id = submit(api, "stubborn.loop")
        require(lambda: [] if log_of(server, job_id) else ["it has not begun"], time.monotonic() + 20)
        assert server.stop() == 0
        states = rows(server.data_dir, "SELECT id, state FROM jobs")
        assert [(row["id"], row["state"]) for row in states] == [(job_id, "queued")]
