"""Every problem leads to what can be done about it, and every call declares those that it can answer."""

import re

import pytest

from service.errors import DatabaseUnavailableError, StorageFailedError
from service.store.database import Database
from service.store.feed import Feed
from service.store.writer import Writer
from service.web.remedies import REMEDIES, answers
from tests.web.answers import assert_problem


def test_there_is_a_remedy_for_every_problem_and_none_else():
    assert answers().keys() == REMEDIES.keys()
    assert all(text[0].isupper() and text.endswith(".") for text in REMEDIES.values())


async def test_the_type_of_a_problem_leads_to_what_can_be_done(client, subtests):
    for method, path in (("GET", "/v1/jobs/none"), ("GET", "/nowhere"), ("PUT", "/livez"), ("GET", "/v1/jobs?limit=0")):
        with subtests.test(path=path):
            problem = (await client.request(method, path)).json()
            page = (await client.get(problem["type"])).json()
            assert {page[name] == problem[name] for name in ("type", "title", "status", "code")} == {True}
            assert page["what_to_do"] == REMEDIES[problem["code"]]


async def test_the_page_of_every_problem_is_there_and_of_no_other(client, subtests):
    for code, error in answers().items():
        with subtests.test(code=code):
            page = (await client.get(f"/problems/{code}")).json()
            assert (page["title"], page["status"]) == (error.title(), error.http_status)
    for code in ("cannot_start", "nonsense", "%00", "x" * 5000):
        assert_problem(await client.get(f"/problems/{code}"), 404, "not_found")


def test_every_operation_declares_what_any_call_may_answer(declared):
    for operation, codes in declared.items():
        assert codes >= {"internal_error", "request_headers_too_large", "headers_stalled"}, operation


def refuse(error):
    """Return a method that refuses."""

    async def method(*_args, **_options):
        raise error

    return method


def refuse_to_look(_database):
    raise DatabaseUnavailableError("out of order")


CALLS = {  # each operation that asks the database or the disk, with what it can still do when they are out of order
    "look": ["GET /v1/jobs", "GET /v1/files", "GET {job}", "GET {job}/events", "GET /v1/events", "GET {file}",
             "GET {file}/content", "GET /v1/stats", "GET /metrics"],
    "write": ["POST /v1/jobs?processor=t.read", "POST /v1/files", "POST {job}/cancel", "POST {job}/retry",
              "DELETE {job}", "DELETE {file}"],
    "delete": ["DELETE {job}", "DELETE {file}"],
}  # fmt: skip


@pytest.mark.parametrize("power", CALLS)
async def test_what_is_out_of_order_is_a_problem_that_the_call_declares(
    power, client, later, store, monkeypatch, runtime, subtests
):
    job, file = await later(("a.txt", b"x")), await store(b"x")
    if power == "look":
        monkeypatch.setattr(Database, "session", refuse_to_look)
        monkeypatch.setattr(Feed, "newest", refuse(DatabaseUnavailableError("out of order")))
    if power == "write":
        monkeypatch.setattr(Writer, "write", refuse(DatabaseUnavailableError("out of order")))
    if power == "delete":
        monkeypatch.setattr(runtime.storage, "delete", refuse(StorageFailedError("out of order")))
    expected = (500, "storage_failed") if power == "delete" else (503, "database_unavailable")
    for call in CALLS[power]:
        with subtests.test(call):
            method, _, address = call.format(job=job["links"]["self"], file=file["links"]["self"]).partition(" ")
            # that the call declares it, the client makes sure of
            response = await client.request(method, address, content=b"x" if "{" not in call else None)
            assert_problem(response, *expected)


def test_every_call_that_asks_anything_is_among_those_above(declared):
    listed = {re.sub(r"\?.*", "", call) for calls in CALLS.values() for call in calls}
    named = {f"{method} {path}" for method, path in declared}
    short = {re.sub(r"/v1/\w+s/{(job|file)_id}", r"{\1}", one) for one in named}
    alone = {"GET /v1/processors", "GET /v1/processors/{name}", "GET /livez", "GET /readyz", "GET /problems/{code}"}
    assert short == listed | alone
