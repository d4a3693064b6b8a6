"""The processors, the health calls, and what the router itself refuses."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from structlog.testing import capture_logs

from service import lasting
from service.errors import DatabaseUnavailableError
from service.lasting import LastingTask
from service.runtime import open_runtime
from service.store.jobs import Jobs
from service.web import health
from tests.web.answers import assert_problem


async def test_the_processors_are_listed_by_name(client, runtime):
    items = (await client.get("/v1/processors")).json()["items"]
    assert [item["name"] for item in items] == sorted(runtime.registry)
    assert {"image.thumbnail", "file.checksum", "text.write", "t.form"} <= {item["name"] for item in items}


async def test_a_processor_says_what_it_takes(client):
    photos = (await client.get("/v1/processors/t.photos")).json()
    assert photos["summary"] == "Take one or two images."
    assert photos["accepts"] == ["image/*"]
    assert photos["limits"].items() >= {"min_files": 1, "max_files": 2, "timeout_s": 600, "max_attempts": 3}.items()
    assert photos["runs_in"] == "loop"
    form = (await client.get("/v1/processors/t.form")).json()
    assert form["params_schema"]["required"] == ["width"]
    assert form["params_schema"]["properties"]["width"]["maximum"] == 100


async def test_each_processor_is_what_its_link_answers(client):
    for item in (await client.get("/v1/processors")).json()["items"]:
        assert (await client.get(item["links"]["self"])).json() == item


async def test_an_unknown_processor_is_not_found_and_near_ones_are_named(client):
    problem = assert_problem(await client.get("/v1/processors/image.thumbnial"), 404, "unknown_processor")
    assert "image.thumbnail" in problem["detail"]
    for name in ("%00", "%ff", "x" * 5000):
        assert_problem(await client.get(f"/v1/processors/{name}"), 404, "unknown_processor")


async def test_a_live_service_says_so(client):
    assert (await client.get("/livez")).json() == {"status": "ok"}


async def test_a_ready_service_names_its_checks(client, settings):
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "checks": dict.fromkeys(("database", "storage", "workers"), "ok")}
    assert not [path for path in (settings.data_dir / "incoming").rglob("*") if path.is_file()]


async def test_any_number_may_ask_at_once_whether_it_is_ready(client):
    for response in await asyncio.gather(*(client.get("/readyz") for _ in range(20))):
        assert response.json()["status"] == "ok"


async def test_a_service_that_stops_is_alive_but_not_ready(client, runtime):
    runtime.begin_stop()
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["checks"]["workers"]) == (503, "not running")
    assert (await client.get("/livez")).status_code == 200


async def test_a_service_that_is_closed_is_not_able_to_do_its_duty(settings):
    async with open_runtime(settings) as runtime:
        assert runtime.is_able
    able: Any = runtime.is_able
    assert not able


def named(*starts):
    return [task for task in asyncio.all_tasks() if task.get_name().startswith(starts)]


async def ended(*starts):
    tasks = named(*starts)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return [task.get_name() for task in tasks]


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> list[LastingTask]:
    """Return the tasks that have ended: they are not begun anew, but by the test."""
    found: list[LastingTask] = []

    def note(one: LastingTask) -> None:
        found.append(one)

    monkeypatch.setattr(LastingTask, "_begin_soon", note)
    return found


def begin_anew(gone: list[LastingTask]) -> None:
    """Begin the tasks again, or the service could not be closed."""
    for one in gone:
        one._begin()


async def test_consumers_that_are_missing_are_counted_until_they_are_replaced(client, gone):
    try:
        assert len(await ended("consumer-loop")) == 4
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["checks"]["workers"] == "4 consumers of loop are missing"
    finally:
        begin_anew(gone)
    assert (await client.get("/livez")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json()["checks"]["workers"] == "ok"


@pytest.mark.parametrize("who", ["consumer-loop", "writer", "Stager.feed", "LostJobs.look"])
async def test_a_service_that_cannot_replace_them_is_not_alive(client, gone, who):
    try:
        await ended(who)
        assert_problem(await client.get("/livez"), 503, "not_working")
        if "." in who:
            assert (await client.get("/readyz")).json()["checks"]["workers"] == f"{who} has ended"
    finally:
        begin_anew(gone)


async def test_a_service_outlives_the_end_of_each_of_its_tasks(submit, finished, runtime, monkeypatch):
    monkeypatch.setattr(lasting, "PAUSE_S", 0)
    with capture_logs() as lines:
        over = await ended(
            "consumer-", "writer", "Feed.", "measure_lag", "Stager.", "Executor.", "LostJobs.", "Pruner."
        )
        assert {line["task"] for line in lines if "begun anew" in line["event"]} == set(over)
        assert len(set(over)) == len(over) == 13
    async with runtime.feed.listen(lambda _: True) as listener:
        assert (await finished(await submit(processor="t.echo")))["state"] == "succeeded"
        assert (await listener.next(20)).data["state"] == "queued"
    later = await submit(processor="t.echo", run_after="2020-01-01T00:00:00Z")
    assert (await finished(later))["state"] == "succeeded"


async def test_a_database_that_refuses_is_named(client, monkeypatch):
    async def refuse(_jobs):
        raise DatabaseUnavailableError("the disk is on fire")

    monkeypatch.setattr(Jobs, "check", refuse)
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"]["database"] == "database_unavailable: the disk is on fire"


@pytest.mark.parametrize("name", ["files", "incoming", "work"])
async def test_a_folder_that_is_gone_is_named_and_works_again_when_it_is_back(name, client, settings, monkeypatch):
    monkeypatch.setattr(health, "FRESH_S", 0)
    (settings.data_dir / name).rename(settings.data_dir / "away")
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["storage"].startswith(f"storage_failed: the folder {name} was deleted or replaced")
    (settings.data_dir / "away").rename(settings.data_dir / name)
    assert (await client.get("/readyz")).json()["status"] == "ok"


async def test_an_attempt_says_what_readiness_says_of_the_folder_it_works_in(client, settings, submit, finished):
    (settings.data_dir / "work").rename(settings.data_dir / "away")
    said = (await client.get("/readyz")).json()["checks"]["storage"]
    job = await finished(await submit(("a.txt", b"a"), processor="file.checksum", max_attempts=1))
    assert f"{job['error']['code']}: {job['error']['message']}" == said
    assert "work" in said


async def test_however_many_ask_the_disk_and_the_database_are_tried_once_a_second(client, monkeypatch):
    tried = []

    async def count(jobs, check=Jobs.check):
        tried.append(jobs)
        await check(jobs)

    monkeypatch.setattr(Jobs, "check", count)
    for _ in range(3):
        await asyncio.gather(*(client.get("/readyz") for _ in range(10)))
    assert len(tried) == 1


async def test_a_database_that_is_locked_is_told_in_time(client, settings, monkeypatch):
    monkeypatch.setattr(health, "PATIENCE_S", 0.1)
    with closing(sqlite3.connect(settings.data_dir / "filemill.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(60):
            response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "no answer within 0.1 s"


async def test_a_path_that_is_not_there_is_a_problem(client, subtests):
    for path in ("/v1", "/v2/jobs", "/v1/jobs/a/b/c", "/%00", "/" + "x" * 10_000):
        with subtests.test(path=path[:20]):
            assert_problem(await client.get(path), 404, "not_found")


async def test_a_method_that_is_not_there_is_a_problem_that_names_those_that_are(client, subtests):
    for method, path in (("PUT", "/v1/jobs"), ("DELETE", "/v1/processors"), ("PATCH", "/livez"), ("BREW", "/readyz")):
        with subtests.test(method=method, path=path):
            response = await client.request(method, path)
            assert_problem(response, 405, "method_not_allowed")
            assert response.headers["allow"]
