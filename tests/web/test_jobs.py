"""GET /v1/jobs/{id}, cancel, retry, delete."""

import asyncio

import pytest

from service.store.ids import new_id
from tests.web.answers import assert_problem

NOBODY = new_id()


async def test_a_job_tells_its_whole_life(submit, finished):
    job = await finished(await submit(processor="t.write", params={"name": "out.txt", "text": "abc"}))
    assert (job["state"], job["attempt"], job["losses"], job["error"]) == ("succeeded", 1, 0, None)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["progress"]["fraction"] == 1.0
    [output] = job["outputs"]
    assert (output["name"], output["size_bytes"], output["media_type"]) == ("out.txt", 3, "text/plain")


async def test_a_failed_job_says_why(submit, finished):
    job = await finished(await submit(processor="t.fail"))
    assert job["state"] == "failed"
    assert job["error"] == {"code": "impossible", "message": "it cannot be done"}


async def test_get_waits_for_the_end(client, submit, gate):
    job = await submit(processor="t.hold")
    waiting = asyncio.create_task(client.get(job["links"]["self"], headers={"Prefer": 'wait="20"'}))
    await gate.reached.wait()
    assert not waiting.done()
    gate.opened.set()
    response = await waiting
    assert (response.json()["state"], response.json()["result"]) == ("succeeded", "let go")
    assert response.headers["preference-applied"] == "wait=20"


async def test_get_does_not_wait_longer_than_it_was_asked_to(client, later):
    response = await client.get((await later())["links"]["self"], headers={"Prefer": "wait=0"})
    assert response.json()["state"] == "queued"


async def test_a_wait_beyond_the_limit_is_cut_and_the_answer_says_so(client, submit):
    job = await submit(processor="t.echo")
    response = await client.get(job["links"]["self"], headers={"Prefer": "wait=" + "9" * 40})
    assert response.json()["state"] == "succeeded"
    assert response.headers["preference-applied"] == "wait=60"


async def test_a_preference_that_makes_no_sense_is_ignored(client, later, subtests):
    job = await later()
    for prefer in ("wait", "wait=", "wait=-1", "wait=soon", "await=5", "", "handling=lenient"):
        with subtests.test(prefer=prefer):
            response = await client.get(job["links"]["self"], headers={"Prefer": prefer})
            assert response.status_code == 200
            assert "preference-applied" not in response.headers


async def test_a_wait_ends_when_the_server_stops(client, later, runtime):
    waiting = asyncio.create_task(client.get((await later())["links"]["self"], headers={"Prefer": "wait=60"}))
    await asyncio.sleep(0)
    runtime.begin_stop()
    assert (await waiting).json()["state"] == "queued"


async def test_waiting_for_a_job_that_is_not_there_is_refused_at_once(client):
    assert_problem(await client.get(f"/v1/jobs/{NOBODY}", headers={"Prefer": "wait=60"}), 404, "job_not_found")


async def test_a_queued_job_is_cancelled(client, later):
    job = await later()
    response = await client.post(job["links"]["cancel"])
    assert response.status_code == 200
    assert response.json()["state"] == "cancelled"
    assert response.json()["error"]["code"] == "cancelled"
    assert (await client.get(job["links"]["self"])).json() == response.json()


async def test_a_running_job_is_cancelled_and_stopped(client, submit, gate):
    job = await submit(processor="t.hold")
    await gate.reached.wait()
    assert (await client.post(job["links"]["cancel"])).json()["state"] == "cancelled"
    gate.opened.set()
    assert (await client.get(job["links"]["self"])).json()["result"] is None


async def test_a_cancelled_job_is_retried(client, submit, finished, gate):
    job = await submit(processor="t.hold")
    await gate.reached.wait()
    await client.post(job["links"]["cancel"])
    gate.opened.set()
    response = await client.post(job["links"]["retry"])
    assert (response.status_code, response.json()["error"]) == (200, None)
    ended = await finished(job)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)


async def test_a_failed_job_is_retried_even_after_its_last_attempt(client, submit, finished):
    job = await finished(await submit(processor="t.fail", max_attempts="1"))
    await client.post(job["links"]["retry"])
    ended = await finished(job)
    assert (ended["state"], ended["attempt"], ended["max_attempts"]) == ("failed", 2, 2)


async def test_a_deleted_job_is_gone_with_its_files(client, submit, finished, nothing_left):
    job = await finished(await submit(("a.txt", b"in"), processor="t.write", params={"name": "out.txt"}))
    response = await client.delete(job["links"]["self"])
    assert (response.status_code, response.content) == (204, b"")
    for link in (job["links"]["self"], job["inputs"][0]["links"]["self"], job["outputs"][0]["links"]["content"]):
        assert (await client.get(link)).status_code == 404
    nothing_left()


async def test_a_queued_job_is_deleted(client, later, nothing_left):
    assert (await client.delete((await later(("a.txt", b"in")))["links"]["self"])).status_code == 204
    nothing_left()


async def test_a_deleted_job_leaves_stored_files_alone(client, store):
    file = await store(b"mine")
    job = (await client.post("/v1/jobs?", json={"processor": "t.read", "files": [file["id"]]})).json()
    await client.post(job["links"]["cancel"])
    await client.delete(job["links"]["self"])
    assert (await client.get(file["links"]["content"])).content == b"mine"


# ---- refusals


@pytest.fixture
async def jobs(submit, finished, later, client, gate):
    """One job in each state."""
    cancelled = await later()
    await client.post(cancelled["links"]["cancel"])
    running = await submit(processor="t.hold")
    await gate.reached.wait()
    return {
        "queued": await later(),
        "running": running,
        "succeeded": await finished(await submit(processor="t.echo")),
        "failed": await finished(await submit(processor="t.fail")),
        "cancelled": cancelled,
    }


async def test_in_the_wrong_state_every_order_is_refused_and_the_state_is_named(client, jobs):
    wrong = [("cancel", state) for state in ("succeeded", "failed", "cancelled")]
    wrong += [("retry", state) for state in ("queued", "running", "succeeded")]
    for order, state in wrong:
        before = (await client.get(jobs[state]["links"]["self"])).json()
        problem = assert_problem(await client.post(jobs[state]["links"][order]), 409, "wrong_state")
        assert state in problem["detail"]
        assert (await client.get(jobs[state]["links"]["self"])).json() == before


async def test_a_running_job_cannot_be_deleted(client, jobs):
    problem = assert_problem(await client.delete(jobs["running"]["links"]["self"]), 409, "wrong_state")
    assert "running" in problem["detail"]


async def test_a_job_that_is_not_there_is_not_found(client, subtests):
    calls = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry")]
    for job_id in (NOBODY, "1", "%00", "%ff%fe", "x" * 5000, "...", "%F0%9F%92%A9", "' OR 1=1 --"):
        for method, order in calls:
            with subtests.test(job_id=job_id, method=method, order=order):
                response = await client.request(method, f"/v1/jobs/{job_id}{order}")
                assert len(assert_problem(response, 404, "job_not_found")["detail"]) < 200


async def test_a_job_that_has_lost_an_input_is_not_run_again_without_it(client, submit, finished):
    job = await finished(await submit(("a.txt", b"one"), processor="t.fail"))
    assert (await client.delete(job["inputs"][0]["links"]["self"])).status_code == 204
    problem = assert_problem(await client.post(job["links"]["retry"]), 409, "input_gone")
    assert "submit it again" in problem["detail"]
    assert (await client.get(job["links"]["self"])).json()["state"] == "failed"


async def test_who_waits_for_a_job_that_is_deleted_is_told_at_once(client, later):
    job = await later()
    waiting = asyncio.create_task(client.get(job["links"]["self"], headers={"Prefer": "wait=30"}))
    await asyncio.sleep(0.05)
    assert (await client.delete(job["links"]["self"])).status_code == 204
    async with asyncio.timeout(60):
        assert_problem(await waiting, 404, "job_not_found")
