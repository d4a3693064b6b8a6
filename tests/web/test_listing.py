"""GET /v1/jobs: filters and pages."""

import asyncio
from datetime import UTC, datetime

import pytest

from service.store.ids import new_id
from tests.web.answers import FAR, assert_problem, form, wrong_fields


@pytest.fixture
async def five(later):
    """Five queued jobs, the newest first."""
    return [await later() for _ in range(5)][::-1]


def ids(response):
    assert response.status_code == 200, response.text
    return [job["id"] for job in response.json()["items"]]


async def test_an_empty_list_is_a_list(client):
    assert (await client.get("/v1/jobs")).json() == {"items": [], "next_cursor": None}


async def test_the_newest_come_first_and_each_is_what_get_answers(client, five):
    assert (await client.get("/v1/jobs")).json() == {"items": five, "next_cursor": None}


async def test_the_files_of_each_job_are_listed_with_it(client, later):
    jobs = [await later((f"{number}.txt", b"x"), ("b.txt", b"y")) for number in range(3)]
    assert (await client.get("/v1/jobs")).json()["items"] == jobs[::-1]


async def test_pages_follow_each_other_without_a_gap_or_a_double(client, five, subtests):
    for limit in (1, 2, 4, 5, 6):
        with subtests.test(limit=limit):
            assert await read_all(client, limit) == five


async def read_all(client, limit):
    seen, query = [], {"limit": limit}
    while True:
        page = (await client.get("/v1/jobs", params=query)).json()
        assert 1 <= len(page["items"]) <= limit
        seen += page["items"]
        if page["next_cursor"] is None:
            return seen
        query["cursor"] = page["next_cursor"]


async def test_a_page_does_not_shift_when_new_jobs_come(client, five, later):
    first = (await client.get("/v1/jobs?limit=2")).json()
    await later()
    assert ids(await client.get(f"/v1/jobs?cursor={first['next_cursor']}")) == [job["id"] for job in five[2:]]


async def test_jobs_are_filtered_by_state(client, submit, finished, later):
    queued, failed = await later(), await submit(processor="t.fail")
    await finished(failed)
    assert ids(await client.get("/v1/jobs?state=queued")) == [queued["id"]]
    assert ids(await client.get("/v1/jobs?state=failed")) == [failed["id"]]
    assert ids(await client.get("/v1/jobs?state=running")) == []


async def test_jobs_are_filtered_by_processor(client, later):
    await later()
    echo = await later(processor="t.echo")
    assert ids(await client.get("/v1/jobs?processor=t.echo")) == [echo["id"]]
    assert ids(await client.get("/v1/jobs?processor=nothing%00at%20all")) == []


async def test_filters_and_cursor_work_together(client, later):
    jobs = [await later(processor=name) for name in ("t.echo", "t.read", "t.echo", "t.read")]
    page = (await client.get("/v1/jobs?processor=t.echo&state=queued&limit=1")).json()
    rest = await client.get(f"/v1/jobs?processor=t.echo&state=queued&cursor={page['next_cursor']}")
    assert ids(rest) == [jobs[0]["id"]]


async def test_jobs_are_filtered_by_their_creation(client, later):
    old = await later()
    while datetime.now(UTC).microsecond // 1000 == datetime.fromisoformat(old["created_at"]).microsecond // 1000:
        await asyncio.sleep(0)  # bounds are good to the millisecond
    new = await later()
    moment = new["created_at"][:23] + "Z"
    assert ids(await client.get("/v1/jobs", params={"created_after": moment})) == [new["id"]]
    assert ids(await client.get("/v1/jobs", params={"created_before": moment})) == [old["id"]]
    assert ids(await client.get("/v1/jobs", params={"created_after": FAR})) == []


async def test_a_bound_at_the_end_of_time_is_a_bound(client, later, subtests):
    job = await later()
    for bound in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "1969-12-31T00:00:00Z"):
        with subtests.test(bound=bound):
            before = ids(await client.get("/v1/jobs", params={"created_before": bound}))
            after = ids(await client.get("/v1/jobs", params={"created_after": bound}))
            assert sorted([before, after]) == [[], [job["id"]]]


async def test_a_plus_that_a_query_turned_into_a_blank_is_a_plus(client, later):
    job = await later()
    bounds = "created_after=2020-01-01T00:00:00+14:00&created_before=2100-01-01T00:00:00+00:00"
    assert ids(await client.get(f"/v1/jobs?{bounds}")) == [job["id"]]


NONSENSE = [
    ("limit", "0"), ("limit", "501"), ("limit", "-1"), ("limit", "many"), ("limit", "9" * 500), ("limit", "1e400"),
    ("limit", "NaN"), ("limit", ""), ("limit", "\0"), ("state", "lost"), ("state", ""), ("state", "queued\0"),
    ("processor", "x" * 201), ("created_after", "yesterday"), ("created_after", "2026-01-01T00:00:00"),
    ("created_after", "2026-02-30T00:00:00Z"), ("created_after", "10000-01-01T00:00:00Z"),
    ("created_before", "1e400"), ("created_before", "0"), ("created_after", "1700000000"), ("created_before", "-1e40"),
    ("created_before", "\ud7ff\0"),
    ("colour", "red"), ("state[]", "queued"), ("x" * 1000, "1"),
]  # fmt: skip


async def test_a_filter_that_makes_no_sense_is_refused_by_name(client, subtests):
    for field, value in NONSENSE:
        with subtests.test(field=field, value=value):
            problem = assert_problem(await client.get("/v1/jobs", params={field: value}), 422, "invalid_request")
            assert wrong_fields(problem) == [field[:200]]


async def test_a_cursor_that_this_server_did_not_give_is_refused(client, subtests):
    for cursor in ("nonsense", "", "\0", "1", "🦆", new_id().upper(), new_id() + "\n", "x" * 5000):
        with subtests.test(cursor=cursor):
            assert_problem(await client.get("/v1/jobs", params={"cursor": cursor}), 400, "invalid_cursor")


async def test_a_listing_that_fails_in_two_ways_says_both(client):
    problem = assert_problem(await client.get("/v1/jobs?limit=0&state=lost"), 422, "invalid_request")
    assert wrong_fields(problem) == ["limit", "state"]


async def test_a_body_does_not_disturb_a_listing(client):
    assert (await client.request("GET", "/v1/jobs", files=form(processor="x"))).status_code == 200
