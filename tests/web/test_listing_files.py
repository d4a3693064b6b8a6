"""GET /v1/files: filters and pages."""

import asyncio
from datetime import UTC, datetime

import pytest

from service.client.answers import parse_files
from tests.web.answers import FAR, assert_problem, wrong_fields


@pytest.fixture
async def five(store):
    """Five stored files, the newest first."""
    return [await store(b"x", f"{number}.txt") for number in range(5)][::-1]


def names(response):
    assert response.status_code == 200, response.text
    return [file["name"] for file in response.json()["items"]]


async def test_an_empty_list_of_files_is_a_list(client):
    assert (await client.get("/v1/files")).json() == {"items": [], "next_cursor": None}


async def test_the_newest_files_come_first_and_each_is_what_get_answers(client, five):
    answer = (await client.get("/v1/files")).json()
    assert answer == {"items": five, "next_cursor": None}
    assert [one.name for one in parse_files(answer)[0]] == ["4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]


async def test_pages_of_files_follow_each_other_without_a_gap_or_a_double(client, five, subtests):
    for limit in (1, 2, 4, 5, 6):
        with subtests.test(limit=limit):
            assert await read_all(client, limit) == five


async def read_all(client, limit):
    seen, query = [], {"limit": limit}
    while True:
        page = (await client.get("/v1/files", params=query)).json()
        assert 1 <= len(page["items"]) <= limit
        seen += page["items"]
        if page["next_cursor"] is None:
            return seen
        query["cursor"] = page["next_cursor"]


async def test_a_page_of_long_names_ends_early_and_the_next_goes_on(client, store, monkeypatch):
    monkeypatch.setattr("service.store.files.MAX_PAGE_CHARS", 250)
    files = [await store(b"x", letter * length) for letter, length in (("a", 100), ("b", 100), ("c", 200), ("d", 900))]
    first = (await client.get("/v1/files")).json()
    assert first["items"] == [files[3]]
    assert await read_all(client, 500) == files[::-1]


async def test_files_that_no_job_has_can_be_asked_for(client, store, later):
    stored, used = await store(b"x", "stored.txt"), await store(b"x", "used.txt")
    job = await later(("own.txt", b"y"))
    named = (
        await client.post("/v1/jobs", json={"processor": "t.read", "files": [used["id"]], "run_after": FAR})
    ).json()
    assert names(await client.get("/v1/files")) == ["own.txt", "used.txt", "stored.txt"]
    assert names(await client.get("/v1/files?unused=true")) == ["stored.txt"]
    assert names(await client.get("/v1/files?unused=false")) == ["own.txt", "used.txt"]
    for one in (job, named):
        assert (await client.delete(one["links"]["self"])).status_code == 204
    assert names(await client.get("/v1/files?unused=true")) == ["used.txt", "stored.txt"]
    await client.delete(stored["links"]["self"])
    assert names(await client.get("/v1/files")) == ["used.txt"]


async def test_files_are_filtered_by_their_creation(client, store):
    old = await store(b"x", "old.txt")
    while datetime.now(UTC).microsecond // 1000 == datetime.fromisoformat(old["created_at"]).microsecond // 1000:
        await asyncio.sleep(0)  # bounds are good to the millisecond
    new = await store(b"x", "new.txt")
    moment = new["created_at"][:23] + "Z"
    # the bounds are those of the id, which a file gets when its upload begins: a little earlier than `created_at`
    earlier = await client.get("/v1/files", params={"created_before": moment})
    later = await client.get("/v1/files", params={"created_after": moment})
    assert sorted(names(earlier) + names(later)) == ["new.txt", "old.txt"]
    assert names(earlier)[-1] == "old.txt"
    assert names(await client.get("/v1/files", params={"created_after": FAR})) == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "unused=perhaps", "created_after=x", "colour=red"]
)
async def test_a_wrong_filter_of_files_is_refused_by_its_name(client, query):
    problem = assert_problem(await client.get(f"/v1/files?{query}"), 422, "invalid_request")
    assert wrong_fields(problem) == [query.partition("=")[0]]


async def test_a_wrong_cursor_of_files_is_refused(client):
    assert_problem(await client.get("/v1/files?cursor=1"), 400, "invalid_cursor")
