"""GET /v1/jobs is bounded in bytes, whatever the jobs hold; what is left out is named, and to be had."""

import json
from contextlib import contextmanager

import httpx
from sqlalchemy import event

from service.store import listing
from service.store.listing import WHOLE_PAGE_BYTES
from service.store.page_statements import LARGE_BYTES, MOST_FILES, MOST_NAME_CHARS
from service.web.schemas import JOB_FIELDS
from tests.web.answers import assert_problem, wrong_fields

LARGE = {"a": "x" * 1_000_000}


@contextmanager
def fetched(runtime):
    """Count the bytes of all texts that SQLite hands out meanwhile."""
    sizes: list[int] = []
    reads = runtime.jobs._database.reads.sync_engine

    def note(_connection, cursor, *_):
        rows = list(cursor._rows)  # what the adapter has fetched
        sizes.extend(len(value.encode()) for row in rows for value in row if isinstance(value, str))

    event.listen(reads, "after_cursor_execute", note)
    yield sizes
    event.remove(reads, "after_cursor_execute", note)


async def read_all(client, **query):
    """Return all pages."""
    pages: list[httpx.Response] = []
    cursor: dict[str, str] = {}
    while True:
        response = await client.get("/v1/jobs", params={**query, **cursor})
        assert response.status_code == 200, response.text
        pages.append(response)
        if (following := response.json()["next_cursor"]) is None:
            return pages
        cursor = {"cursor": following}


async def test_a_page_of_jobs_with_large_metadata_is_small_in_the_answer_and_in_what_is_read(client, runtime, later):
    jobs = [await later(metadata=LARGE) for _ in range(12)]
    with fetched(runtime) as sizes:
        response = await client.get("/v1/jobs?limit=500")
    assert len(response.content) < 12 * 2000
    assert 0 < sum(sizes) < 12 * 2000
    items = response.json()["items"]
    assert [(item["id"], item["metadata"], item["omitted"]) for item in items] == [
        (job["id"], {}, ["metadata"]) for job in jobs[::-1]
    ]
    whole = (await client.get(items[0]["links"]["self"])).json()
    assert (whole["metadata"], whole["omitted"]) == (LARGE, [])


async def test_each_large_field_is_left_out_and_named(client, submit, finished, runtime):
    job = await finished(await submit(processor="t.echo", params={"value": LARGE}, metadata={"small": 1}))
    (item,) = (await client.get("/v1/jobs")).json()["items"]
    assert item["omitted"] == ["params", "result"]
    assert (item["params"], item["result"], item["metadata"]) == ({}, None, {"small": 1})
    assert item == {**job, "params": {}, "result": None, "omitted": ["params", "result"]}
    with fetched(runtime) as sizes:
        await client.get("/v1/jobs?limit=500")
    assert sum(sizes) < 4000


async def test_a_field_of_just_the_limit_is_whole(client, later):
    metadata = {"a": "ü" * ((LARGE_BYTES - len('{"a":""}')) // 2)}
    await later(metadata=metadata)
    await later(metadata={"a": metadata["a"] + "x"})
    above, at = (await client.get("/v1/jobs")).json()["items"]
    assert (at["metadata"], at["omitted"]) == (metadata, [])
    assert (above["metadata"], above["omitted"]) == ({}, ["metadata"])


async def test_of_a_large_error_code_and_message_are_left(client, submit, finished):
    job = await finished(await submit(processor="t.raise", max_attempts=1))
    assert len(json.dumps(job["error"])) > LARGE_BYTES
    (item,) = (await client.get("/v1/jobs")).json()["items"]
    assert item["error"] == {name: job["error"][name] for name in ("code", "message")}
    assert item["omitted"] == ["error"]


async def test_a_page_ends_early_when_it_would_weigh_too_much_and_the_next_goes_on(client, later, monkeypatch):
    monkeypatch.setattr(listing, "PAGE_BYTES", 20_000)
    jobs = [await later(metadata={"a": "x" * 3000}) for _ in range(12)]
    for limit in (12, 100):  # read at once, and in two steps
        pages = await read_all(client, limit=limit)
        assert [item for page in pages for item in page.json()["items"]] == jobs[::-1]
        assert len(pages) > 2
        assert all(len(page.content) < 20_000 for page in pages)


async def test_what_is_asked_for_comes_whole_and_the_page_stays_bounded(client, runtime, later):
    jobs = [await later(metadata=LARGE) for _ in range(10)]
    with fetched(runtime) as sizes:
        pages = await read_all(client, fields="metadata", limit=500)
    assert [item["id"] for page in pages for item in page.json()["items"]] == [job["id"] for job in jobs[::-1]]
    assert all(item["metadata"] == LARGE and item["omitted"] == [] for page in pages for item in page.json()["items"])
    assert [len(page.json()["items"]) for page in pages] == [8, 2]
    assert max(len(page.content) for page in pages) < WHOLE_PAGE_BYTES
    assert sum(sizes) < 10 * len(json.dumps(LARGE)) + 10_000, "each is read once"


async def test_even_one_job_that_is_more_than_a_page_may_weigh_is_given(client, later, monkeypatch):
    monkeypatch.setattr(listing, "WHOLE_PAGE_BYTES", 10_000)
    jobs = [await later(metadata=LARGE) for _ in range(3)]
    pages = await read_all(client, fields="metadata")
    assert [[item["id"] for item in page.json()["items"]] for page in pages] == [[job["id"]] for job in jobs[::-1]]
    assert all(page.json()["items"][0]["metadata"] == LARGE for page in pages)


async def test_of_many_files_the_first_are_listed_and_all_are_counted(client, later):
    many = [(f"{number}.txt", b"x") for number in range(MOST_FILES + 5)]
    jobs = [await later(*many), await later(*many[:MOST_FILES])]
    exact, cut = (await client.get("/v1/jobs")).json()["items"]
    assert exact == jobs[1]
    assert cut == {**jobs[0], "inputs": jobs[0]["inputs"][:MOST_FILES], "omitted": ["inputs"]}
    assert (cut["input_count"], cut["output_count"]) == (MOST_FILES + 5, 0)


async def test_a_long_name_is_cut_in_a_list(client, later):
    job = await later(("n" * 3000, b"x"))
    (item,) = (await client.get("/v1/jobs")).json()["items"]
    assert item["inputs"][0]["name"] == job["inputs"][0]["name"][:MOST_NAME_CHARS]
    assert item["omitted"] == ["inputs"]


async def test_only_the_fields_that_are_asked_for_are_there(client, later, subtests):
    job = await later(("a.txt", b"x"), metadata={"order": 17})
    always = {"id", "links", "omitted"}
    for names in (["state"], ["metadata", "params"], ["inputs", "input_count"], ["outputs"], ["id"], JOB_FIELDS):
        with subtests.test(names=names):
            (item,) = (await client.get("/v1/jobs", params={"fields": ",".join(names)})).json()["items"]
            assert item == {name: job[name] for name in {*names, *always}}


async def test_what_is_not_asked_for_is_not_read(client, runtime, later):
    await later(("a.txt", b"x"), metadata={"a": "x" * 4000})
    with fetched(runtime) as sizes:
        await client.get("/v1/jobs?fields=state")
    assert sum(sizes) < 1000


async def test_a_field_that_does_not_exist_is_refused_with_those_that_do(client, subtests):
    for names in ("colour", "state,", "", "st ate", "state;id", "STATE", "state id"):
        with subtests.test(names=names):
            problem = assert_problem(await client.get("/v1/jobs", params={"fields": names}), 422, "invalid_request")
            assert wrong_fields(problem) == ["fields"]
            assert all(name in problem["errors"][0]["message"] for name in JOB_FIELDS)
            assert problem["errors"][0]["message"].startswith("a job has no field")


async def test_blanks_around_the_names_of_fields_are_passed_over(client, later):
    await later()
    (item,) = (await client.get("/v1/jobs", params={"fields": " state, priority "})).json()["items"]
    assert item.keys() == {"id", "state", "priority", "omitted", "links"}
