"""`async def` processors that hold up the loop, and processors of which only so many may run at once."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from service.processors.base import JobContext, processor
from service.testing import open_app
from service.worker.runner import Assignment, LoopRunner, Returned
from service.worker.watchdog import LoopWatchdog

PROCESSORS = Path(__file__).with_name("isolation_processors.py")
LAG_S = 0.05


def ignore(_note):
    pass


def assignment_of(one, folder):
    return Assignment("job-1", 1, 1, one, {}, {}, (), folder, 10.0)


@processor("t.blocking", min_files=0)
async def blocking(_job: JobContext) -> None:
    """Hold up the loop."""
    time.sleep(0.6)  # noqa: ASYNC251 - that is what it is for


@processor("t.blocking_elsewhere", min_files=0)
async def blocking_elsewhere(_job: JobContext) -> None:
    """Hold up the loop in a task of its own."""

    async def block() -> None:
        time.sleep(0.6)  # noqa: ASYNC251

    await asyncio.create_task(block())


@processor("t.patient", min_files=0)
async def patient(_job: JobContext) -> None:
    """Wait as one should."""
    await asyncio.sleep(0.4)


@pytest.mark.parametrize("one", [blocking, blocking_elsewhere])
async def test_a_processor_that_holds_up_the_loop_is_named_in_both_logs(tmp_path, one):
    runner = LoopRunner()
    notes: list[Any] = []
    with structlog.testing.capture_logs() as logs:
        async with LoopWatchdog(runner.running, LAG_S), asyncio.TaskGroup() as group:
            _ = group.create_task(runner.run(assignment_of(patient, tmp_path), ignore))
            _ = group.create_task(runner.run(assignment_of(one, tmp_path), notes.append))
    # a busy machine may hold up the loop, too, but then nobody is named
    line, *_ = [line for line in logs if line["event"] == "event loop held up" and line["processor"] == one.name]
    assert (line["job_id"], line["log_level"]) == ("job-1", "warning")
    assert Path(__file__).name in line["at"]
    assert line["lag_s"] > LAG_S


async def test_the_log_of_the_job_says_what_to_do(tmp_path):
    @processor("t.blocking_twice", min_files=0)
    async def one(_job: JobContext) -> None:
        """Hold up the loop, and then let go."""
        time.sleep(0.4)  # noqa: ASYNC251
        await asyncio.sleep(0.01)

    runner = LoopRunner()
    notes: list[Any] = []
    async with LoopWatchdog(runner.running, LAG_S):
        assert await runner.run(assignment_of(one, tmp_path), notes.append) == Returned(None)
    note, *_ = notes
    assert "make the processor a plain `def`" in note.message
    assert note.fields["lag_s"] > LAG_S


async def test_a_loop_that_is_held_up_by_nobody_known_is_told_too_and_once():
    with structlog.testing.capture_logs() as logs:
        async with LoopWatchdog({}, 0.5):
            await asyncio.sleep(0)
            time.sleep(1.2)  # noqa: ASYNC251
            await asyncio.sleep(0)
    assert [line["processor"] for line in logs] == [None]


async def test_waiting_is_no_lag(tmp_path):
    @processor("t.slow", min_files=0)
    async def slow(_job: JobContext) -> None:
        """Wait longer than the loop may be held up; a busy machine does not hold it up that long."""
        await asyncio.sleep(2.5)

    runner = LoopRunner()
    with structlog.testing.capture_logs() as logs:
        async with LoopWatchdog(runner.running, 2):
            await runner.run(assignment_of(slow, tmp_path), ignore)
    assert logs == []


# ---- max_concurrency


async def submit(client, name, **params):
    answer = await client.post("/v1/jobs", json={"processor": name, "params": params})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def finished(client, job_id):
    return (await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})).json()


def most_at_once(spans):
    """Return the largest number of spans that have a moment in common."""
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


@pytest.mark.settings(processors=str(PROCESSORS), consumers=4, child_processes=2)
async def test_no_more_jobs_of_a_processor_run_than_it_allows_and_the_others_pass_by(client):
    lonely = [await submit(client, "iso.lonely", after_free=3) for _ in range(4)]
    free = [await submit(client, "iso.free") for _ in range(12)]
    ended = [await finished(client, job_id) for job_id in [*free, *lonely]]
    assert {job["state"] for job in ended} == {"succeeded"}
    assert most_at_once([job["result"] for job in ended[len(free) :]]) == 1


@pytest.mark.settings(processors=str(PROCESSORS), consumers=2, child_processes=2)
async def test_limited_and_unlimited_jobs_share_the_places_of_their_lane(client):
    jobs = [await submit(client, name, pause_s=0.05) for name in ("iso.pair", "iso.free", "iso.lonely") * 4]
    ended = [await finished(client, job_id) for job_id in jobs]
    assert {job["state"] for job in ended} == {"succeeded"}
    assert most_at_once([job["result"] for job in ended]) <= 2
    assert most_at_once([job["result"] for job in ended if job["processor"] == "iso.lonely"]) == 1


@pytest.mark.settings(processors=str(PROCESSORS), consumers=1, child_processes=2)
async def test_the_limit_holds_for_child_processes_too(client):
    jobs = [await submit(client, "iso.lonely_child", pause_s=0.1) for _ in range(3)]
    ended = [await finished(client, job_id) for job_id in jobs]
    assert most_at_once([job["result"] for job in ended]) == 1


@pytest.mark.settings(processors=str(PROCESSORS), consumers=1)
async def test_a_limited_job_that_waits_for_its_retry_comes_back(client):
    ended = await finished(client, await submit(client, "iso.lonely_retry"))
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)


# ---- processors that do not end when they are told to


@pytest.fixture
def little_patience(monkeypatch):
    """Give a processor on the loop a moment to end."""
    monkeypatch.setattr("service.worker.executor.LOOP_STOP_LIMIT_S", 0.2)


async def running(client, job_id):
    async with asyncio.timeout(60):
        while (await client.get(f"/v1/jobs/{job_id}")).json()["state"] != "running":
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("little_patience")
@pytest.mark.settings(processors=str(PROCESSORS), consumers=1)
async def test_one_that_swallows_its_timeout_ends_as_any_other_and_frees_its_place(client):
    body = {"processor": "iso.stubborn", "timeout_s": 0.2, "max_attempts": 1}
    ended = await finished(client, (await client.post("/v1/jobs", json=body)).json()["id"])
    assert (ended["state"], ended["error"]["code"]) == ("failed", "timed_out")
    assert (await finished(client, await submit(client, "iso.free")))["state"] == "succeeded"


@pytest.mark.usefixtures("little_patience")
@pytest.mark.settings(processors=str(PROCESSORS), consumers=1)
async def test_one_that_swallows_its_cancellation_frees_its_place(client):
    job_id = await submit(client, "iso.stubborn")
    await running(client, job_id)
    assert (await client.post(f"/v1/jobs/{job_id}/cancel")).json()["state"] == "cancelled"
    assert (await finished(client, await submit(client, "iso.free")))["state"] == "succeeded"


@pytest.mark.usefixtures("little_patience")
async def test_one_that_swallows_its_cancellation_does_not_hold_up_the_end_of_the_service(tmp_path):
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(60):
            async with open_app(PROCESSORS, data_dir=tmp_path) as app:
                job = await app.submit("iso.stubborn")
                await running(app, job["id"])
    (line,) = [line for line in logs if "given up" in line["event"]]
    assert (line["processor"], line["job_id"]) == ("iso.stubborn", job["id"])
    async with open_app(data_dir=tmp_path) as app:
        assert (await app.get(f"/v1/jobs/{job['id']}")).json()["state"] == "queued"
