"""Params that are secret: the processor gets them, and nobody else sees them."""

from pathlib import Path

import pytest

from service.web.redaction import HIDDEN, shown_params
from tests.web import secret_processors

pytestmark = pytest.mark.settings(processors=str(Path(secret_processors.__file__)))


async def submit(client, processor, **params):
    answer = await client.post("/v1/jobs", json={"processor": processor, "params": params})
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_a_secret_param_is_shown_nowhere_and_a_retry_works_with_it(client):
    job = await submit(client, "t.secret", key="hunter2", note="seen")
    url = job["links"]["self"]
    failed = await client.get(url, headers={"Prefer": "wait=10"})
    assert failed.json()["error"]["message"] == "ValueError: not the first time"
    answers = [failed, await client.get("/v1/jobs"), await client.get(f"{url}/events")]
    answers.append(await client.post(f"{url}/retry"))
    answers.append(done := await client.get(url, headers={"Prefer": "wait=10"}))
    assert done.json()["result"] == "opened"
    assert {"key": HIDDEN, "note": "seen"} == job["params"] == done.json()["params"]
    for answer in answers:
        assert answer.status_code == 200
        assert "hunter2" not in answer.text


async def test_a_first_answer_that_is_given_again_hides_it_too(client):
    body = {"processor": "t.secret", "params": {"key": "hunter2"}}
    answers = [await client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.json()["params"] for answer in answers] == [{"key": HIDDEN}] * 2
    assert answers[1].headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        (
            {"logins": [{"user": "a", "password": "p", "next": {"user": "b", "password": "q"}}]},
            {"logins": [{"user": "a", "password": HIDDEN, "next": {"user": "b", "password": HIDDEN}}]},
        ),
        ({"headers": {"accept": "x", "cookie": "y"}}, {"headers": {"accept": HIDDEN, "cookie": HIDDEN}}),
        ({"pair": ["open", "closed"]}, {"pair": ["open", HIDDEN]}),
        ({"either": "s"}, {"either": HIDDEN}),
        ({"either": None, "headers": None}, {"either": None, "headers": None}),
        ({"plain": {"password": "a word"}}, {"plain": {"password": "a word"}}),
    ],
)
def test_secrets_are_found_wherever_the_schema_marks_them(params, shown):
    assert secret_processors.secrets.check_params(params)
    assert shown_params(secret_processors.secrets, params) == shown


@pytest.mark.parametrize("params", [{"logins": 3}, {"logins": [3]}, {"pair": []}, {"headers": ["x"]}, {"unknown": 1}])
def test_params_that_no_longer_fit_the_processor_do_no_harm(params):
    assert shown_params(secret_processors.secrets, params) == params


def test_without_the_processor_any_param_may_be_secret():
    assert shown_params(None, {"key": "hunter2", "note": {"a": 1}}) == {"key": HIDDEN, "note": HIDDEN}


@pytest.mark.settings(processors="")
@pytest.mark.parametrize(
    ("processor", "params", "shown"),
    [
        (
            "http.request",
            {"url": "http://127.0.0.1:9/", "headers": {"Authorization": "Bearer hunter2"}},
            {"url": "http://127.0.0.1:9/", "headers": {"Authorization": HIDDEN}},
        ),
    ],
)
async def test_the_catalogue_marks_its_secrets(client, processor, params, shown):
    assert (await submit(client, processor, **params))["params"] == shown
