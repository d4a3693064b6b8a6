"""POST /v1/jobs: the three ways to submit."""

import itertools
import json

import pytest

from tests.web.answers import FAR, assert_problem, form, wrong_fields

FIELDS = (
    ("processor", (None, b"t.read")),
    ("metadata", (None, b'{"order": 17}')),
    ("file", ("a.txt", b"first")),
    ("file", ("b.txt", b"second")),
)


async def test_a_form_becomes_a_job(client):
    response = await client.post(
        "/v1/jobs",
        files=form(
            ("a.txt", b"hello"),
            processor="t.read",
            params={},
            priority="7",
            run_after="2100-01-01T02:00:00+02:00",
            max_attempts="5",
            timeout_s="1.5",
            metadata={"order": 17},
        ),
    )
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert (job["processor"], job["state"], job["priority"], job["max_attempts"]) == ("t.read", "queued", 7, 5)
    assert (job["timeout_s"], job["metadata"], job["run_after"]) == (1.5, {"order": 17}, FAR)
    assert (job["attempt"], job["progress"]) == (0, {"fraction": 0.0, "message": ""})
    assert (job["started_at"], job["finished_at"], job["result"], job["error"], job["outputs"]) == (None,) * 4 + ([],)
    [file] = job["inputs"]
    assert (file["name"], file["size_bytes"], file["media_type"]) == ("a.txt", 5, "text/plain")


async def test_a_blank_in_an_instant_is_a_plus_in_a_query_alone(client, nothing_left):
    late, blank = {"run_after": "2100-01-01T02:00:00+02:00"}, {"run_after": "2100-01-01T02:00:00 02:00"}
    for response in (
        await client.post("/v1/jobs", files=form(("a", b"x"), processor="t.read", **blank)),
        await client.post("/v1/jobs", json={"processor": "t.echo", **blank}),
    ):
        assert wrong_fields(assert_problem(response, 422, "invalid_request")) == ["run_after"]
    nothing_left()
    for query in (late["run_after"], blank["run_after"].replace(" ", "%20"), late["run_after"].replace("+", "%2B")):
        response = await client.post(f"/v1/jobs?processor=t.read&run_after={query}", content=b"x")
        assert response.json()["run_after"] == FAR


async def test_fields_and_files_come_in_any_order(client, finished, subtests):
    for order in itertools.permutations(range(4)):
        with subtests.test(order=order):
            response = await client.post("/v1/jobs", files=[FIELDS[number] for number in order])
            job = await finished(response.json())
            texts = [FIELDS[number][1] for number in order if number >= 2]
            assert job["result"] == [[name, len(text), text.decode()] for name, text in texts]
            assert job["metadata"] == {"order": 17}


async def test_the_answer_is_what_get_answers(client, later):
    job = await later(("a.txt", b"hello"), metadata={"a": [1, None, "ü"]}, priority="-3")
    assert (await client.get(job["links"]["self"])).json() == job


async def test_a_form_needs_no_file_where_the_processor_needs_none(submit, finished):
    job = await finished(await submit(processor="t.form", params={"width": 8}))
    assert job["result"] == {"width": 8, "ratio": 1.0, "mode": "fit", "tags": None}
    assert job["params"] == {"width": 8}


async def test_json_names_stored_files_in_order(client, store, finished):
    first, second = await store(b"one", "1.txt"), await store(b"two", "2.txt")
    response = await client.post("/v1/jobs", json={"processor": "t.read", "files": [second["id"], first["id"]]})
    assert response.status_code == 202
    assert (await finished(response.json()))["result"] == [["2.txt", 3, "two"], ["1.txt", 3, "one"]]


async def test_json_takes_every_field(client):
    wanted = {
        "processor": "t.form", "params": {"width": 3}, "priority": 2, "run_after": FAR, "max_attempts": 2,
        "timeout_s": 9.5, "metadata": {"deep": {"er": []}},
    }  # fmt: skip
    job = (await client.post("/v1/jobs", json=wanted)).json()
    assert {name: job[name] for name in wanted.keys() - {"params"}} == {
        name: value for name, value in wanted.items() if name != "params"
    }


async def test_a_raw_body_is_the_one_file(client, finished):
    query = {"processor": "t.read", "filename": "naïve.bin", "params": "{}", "metadata": json.dumps({"a": 1})}
    response = await client.post(
        "/v1/jobs", params=query, content=b"\x00\x01", headers={"Content-Type": "application/octet-stream"}
    )
    job = await finished(response.json())
    assert job["result"] == [["naïve.bin", 2, "\x00\x01"]]
    assert job["metadata"] == {"a": 1}


async def test_a_raw_body_without_a_type_or_a_name_is_taken(client, finished):
    job = await finished((await client.post("/v1/jobs?processor=t.read", content=b"bytes")).json())
    assert job["result"] == [["upload", 5, "bytes"]]


async def test_a_json_document_is_a_file_under_another_type(client, finished):
    headers = {"Content-Type": "application/octet-stream"}
    response = await client.post("/v1/jobs?processor=t.read&filename=a.json", content=b'{"a": 1}', headers=headers)
    assert (await finished(response.json()))["inputs"][0]["media_type"] == "application/json"


async def test_the_media_type_is_sniffed_and_not_believed(client, finished):
    photo = [("processor", (None, b"t.read")), ("file", ("photo.jpg", b"plain text", "image/jpeg"))]
    job = await finished((await client.post("/v1/jobs", files=photo)).json())
    assert job["inputs"][0]["media_type"] == "text/plain"


@pytest.mark.settings(consumers=1)
async def test_of_two_queued_jobs_the_higher_priority_runs_first(submit, finished, gate):
    await submit(processor="t.hold")
    await gate.reached.wait()
    low = await submit(processor="t.echo", priority="0")
    high = await submit(processor="t.echo", priority="9")
    gate.opened.set()
    assert (await finished(high))["started_at"] < (await finished(low))["started_at"]


async def test_prefer_wait_answers_with_the_finished_job(client):
    response = await client.post("/v1/jobs", files=form(processor="t.echo"), headers={"Prefer": "wait=20"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=20"
    assert response.json()["state"] == "succeeded"


@pytest.mark.settings(max_wait_s=0.5)
async def test_a_wait_beyond_the_limit_is_cut_to_it_and_the_answer_says_so(client, later):
    response = await client.get((await later())["links"]["self"], headers={"Prefer": "wait=120"})
    assert response.headers["preference-applied"] == "wait=0.5"
    assert response.json()["state"] == "queued"


async def test_prefer_wait_gives_up_in_time(client):
    late = form(processor="t.echo", run_after=FAR)
    response = await client.post("/v1/jobs", files=late, headers={"Prefer": "respond-async, wait=0"})
    assert response.headers["preference-applied"] == "wait=0"
    assert response.json()["state"] == "queued"


async def test_without_the_preference_nothing_is_applied(client):
    response = await client.post("/v1/jobs", files=form(processor="t.echo"))
    assert "preference-applied" not in response.headers
