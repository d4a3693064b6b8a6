"""Idempotency-Key: a request that is sent twice is taken once."""

import asyncio

import pytest

from tests.web.answers import MULTIPART, assert_problem, form, multipart, part

KEY = {"Idempotency-Key": "order-17"}


@pytest.fixture
def post(client):
    """Return a function that submits a form with the key."""

    async def post(*files, key="order-17", path="/v1/jobs", **fields):
        return await client.post(path, files=form(*files, **fields), headers={"Idempotency-Key": key})

    return post


async def test_the_same_body_gives_the_first_answer_again(client, post, finished, settings):
    first = await post(("a.txt", b"one"), processor="t.read")
    await finished(first.json())
    again = await post(("a.txt", b"one"), processor="t.read")
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len((await client.get("/v1/jobs")).json()["items"]) == 1
    assert len(list((settings.data_dir / "files").iterdir())) == 1


async def test_the_order_of_the_fields_makes_no_other_body(client, post):
    first = await post(processor="t.echo", params={"value": 1})
    again = await client.post("/v1/jobs", json={"params": {"value": 1}, "processor": "t.echo"}, headers=KEY)
    assert again.json() == first.json()


async def test_another_body_is_refused(client, post, settings, subtests):
    await post(("a.txt", b"one"), processor="t.read")
    for case, (files, fields) in {
        "other bytes": ([("a.txt", b"two")], {"processor": "t.read"}),
        "another name": ([("b.txt", b"one")], {"processor": "t.read"}),
        "another field": ([("a.txt", b"one")], {"processor": "t.read", "priority": "1"}),
        "no file": ([], {"processor": "t.read"}),
        "another processor": ([("a.txt", b"one")], {"processor": "t.hold"}),
    }.items():
        with subtests.test(case=case):
            assert_problem(await post(*files, **fields), 422, "idempotency_key_reused")
    assert len((await client.get("/v1/jobs")).json()["items"]) == 1
    assert len(list((settings.data_dir / "files").iterdir())) == 1


async def test_another_key_is_another_job(post):
    first, second = await post(processor="t.echo"), await post(processor="t.echo", key="order-18")
    assert first.json()["id"] != second.json()["id"]


async def test_while_one_is_on_its_way_another_with_its_key_is_refused(exchange, post):
    slow = exchange("POST", "/v1/jobs?processor=t.read", Idempotency_Key="order-17")
    slow.put(b"half")
    await slow.all_taken()
    assert_problem(await post(processor="t.echo"), 409, "idempotency_key_in_flight")
    assert (await post(processor="t.echo", key="another")).status_code == 202
    slow.end()
    assert (await slow.answer()).status_code == 202


async def test_of_many_at_once_one_makes_the_job(client, post):
    responses = await asyncio.gather(*(post(processor="t.echo") for _ in range(10)))
    assert {response.status_code for response in responses} <= {202, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 202}) == 1
    assert len((await client.get("/v1/jobs")).json()["items"]) == 1


async def test_a_key_is_free_again_after_a_request_that_was_refused_or_broke_off(exchange, post):
    assert_problem(await post(processor="t.form", params={"width": 0}), 422, "invalid_params")
    broken = exchange("POST", "/v1/jobs", Content_Type=MULTIPART, Idempotency_Key="order-17")
    broken.put(multipart(part("file", b"x", "a"))[:-5])
    broken.hang_up()
    await broken.answer()
    assert (await post(processor="t.form", params={"width": 1})).status_code == 202


async def test_a_stored_file_is_kept_once_too(post, settings):
    first = await post(("a.txt", b"one"), path="/v1/files")
    again = await post(("a.txt", b"one"), path="/v1/files")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")
    assert_problem(await post(("a.txt", b"two"), path="/v1/files"), 422, "idempotency_key_reused")
    assert len(list((settings.data_dir / "files").iterdir())) == 1


async def test_a_key_whose_job_or_file_was_deleted_gives_the_first_answer_and_makes_no_other(client, post):
    job = (await post(processor="t.read", run_after="2100-01-01T00:00:00Z")).json()
    file = (await post(("a.txt", b"one"), path="/v1/files")).json()
    for made in (job, file):
        assert (await client.delete(made["links"]["self"])).status_code == 204
    again = await post(processor="t.read", run_after="2100-01-01T00:00:00Z")
    assert (again.status_code, again.json()["id"], again.headers["idempotency-replayed"]) == (202, job["id"], "true")
    again = await post(("a.txt", b"one"), path="/v1/files")
    assert (again.status_code, again.json()["id"], again.headers["idempotency-replayed"]) == (201, file["id"], "true")
    assert_problem(await post(processor="t.echo"), 422, "idempotency_key_reused")
    assert (await client.get("/v1/jobs")).json()["items"] == []


async def test_a_key_of_a_file_says_nothing_about_jobs(post):
    file = await post(("a.txt", b"one"), path="/v1/files")
    job = await post(("a.txt", b"one"), processor="t.read")
    assert (file.status_code, job.status_code) == (201, 202)
    assert "idempotency-replayed" not in job.headers


async def test_a_replay_is_the_first_answer_and_waits_for_nothing(client, post, finished):
    first = (await post(processor="t.echo")).json()
    await finished(first)
    again = await client.post("/v1/jobs", files=form(processor="t.echo"), headers={**KEY, "Prefer": "wait=20"})
    assert (again.json(), again.json()["state"]) == (first, "queued")
    assert "preference-applied" not in again.headers


@pytest.mark.settings(idempotency_retention_s=0.05, prune_interval_s=0.05)
async def test_a_key_is_forgotten_in_time(post):
    first = await post(processor="t.echo", params={"value": 1})
    async with asyncio.timeout(60):
        while (other := await post(processor="t.echo", params={"value": 2})).status_code == 422:
            await asyncio.sleep(0.01)  # the pruner tells nobody
    assert (first.status_code, other.status_code) == (202, 202)
    assert other.json()["id"] != first.json()["id"]


async def test_a_key_that_makes_no_sense_is_refused(client, nothing_left, subtests):
    for key in (b"", b" ", b"x" * 256, b"a\tb", b"a\x7f", b"\xa0\xa0"):
        with subtests.test(key=key[:20]):
            response = await client.post("/v1/jobs", files=form(processor="t.echo"), headers={"Idempotency-Key": key})
            assert_problem(response, 422, "invalid_request")
    nothing_left()


async def test_a_key_may_have_255_characters(post):
    assert (await post(processor="t.echo", key="k" * 255)).status_code == 202
