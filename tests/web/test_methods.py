"""HEAD wherever GET is, and 405 with the methods that an address takes."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from service.store.ids import new_id
from tests.fakes import Exchange
from tests.web.answers import assert_problem

# what differs from one answer to the next
CHANGING = {"date"}


@pytest.fixture
def paths(app):
    """Return each address that takes GET, with its templates open."""
    routes = [one for router in app.routes for one in getattr(router, "original_router", app).routes]
    found = {one.path for one in routes if "GET" in (getattr(one, "methods", None) or ())}
    assert {"/", "/readyz", "/v1/jobs", "/v1/events", "/metrics", "/static/{release}/{name:path}", "/docs"} <= found
    return sorted(found)


@pytest.fixture
def filled(submit, finished, store):
    """Return a function that fills in a template: with what is there, or with what is not."""

    async def filled(path, *, is_there=True):
        job = await finished(await submit(("a.txt", b"x"), processor="t.read"))
        file = await store(b"0123456789")
        ids = {"job_id": job["id"], "file_id": file["id"], "code": "not_found", "release": "1",
               "name:path": "style.css", "name": "t.read"}  # fmt: skip
        for name, value in ids.items():
            path = path.replace(f"{{{name}}}", value if is_there else new_id())
        return path

    return filled


async def begun(app, method, path):
    """Return the status and the headers of an answer that may have no end."""
    exchange = Exchange(app, method, path)
    exchange.end()
    async with asyncio.timeout(20):
        while not exchange._sent and not exchange.task.done():
            await asyncio.sleep(0)
    exchange.task.cancel()
    await asyncio.gather(exchange.task, return_exceptions=True)
    start = exchange._sent[0]
    return start["status"], sorted(pair for pair in start["headers"] if pair[0].decode() not in CHANGING)


@pytest.mark.parametrize("is_there", [True, False])
async def test_head_is_get_without_its_body_at_every_address(app, paths, filled, is_there, subtests):
    for template in paths:
        with subtests.test(path=template):
            path = await filled(template, is_there=is_there)
            head = Exchange(app, "HEAD", path)
            head.end()
            answer = await head.answer()  # a stream of events that went on would be a TimeoutError
            assert answer.content == b""
            status, headers = await begun(app, "GET", path)
            assert answer.status_code == status
            names = [name for name, _ in headers]
            assert sorted(name for name, _ in answer.headers.raw if name.decode() not in CHANGING) == names
            assert status < 500


async def noted(pieces, read):
    """Yield the pieces, and note each."""
    async for piece in pieces:
        read.append(piece)
        yield piece


async def test_head_of_a_download_reads_nothing(client, store, runtime, monkeypatch):
    read: list[bytes] = []
    file = await store(b"0123456789")
    open_part = runtime.storage.open_part

    @asynccontextmanager
    async def watched(*args):
        async with open_part(*args) as pieces:
            yield noted(pieces, read)

    monkeypatch.setattr(runtime.storage, "open_part", watched)
    answer = await client.head(file["links"]["content"])
    assert (answer.status_code, answer.headers["content-length"]) == (200, "10")
    assert read == []
    await client.get(file["links"]["content"])
    assert b"".join(read) == b"0123456789"


async def test_head_of_a_file_says_what_get_says(client, store):
    link = (await store(b"0123456789"))["links"]["content"]
    for headers in ({}, {"Range": "bytes=2-4"}, {"Range": "bytes=20-"}, {"Range": "bytes=0-1,3-4"}):
        get, head = await client.get(link, headers=headers), await client.head(link, headers=headers)
        assert head.status_code == get.status_code
        assert head.headers == get.headers
        assert head.content == b""
    tag = (await client.get(link)).headers["etag"]
    assert (await client.head(link, headers={"If-None-Match": tag})).status_code == 304


async def test_another_method_is_refused_with_those_that_there_are(client, subtests):
    for path, allowed in {
        "/": "GET, HEAD", "/readyz": "GET, HEAD", "/metrics": "GET, HEAD", "/v1/events": "GET, HEAD",
        "/v1/jobs": "GET, HEAD, POST", "/v1/jobs/x": "GET, HEAD, DELETE", "/v1/jobs/x/cancel": "POST",
        "/v1/files/x": "GET, HEAD, DELETE", "/v1/files/x/content": "GET, HEAD",
    }.items():  # fmt: skip
        methods = {"PUT", "PATCH", "OPTIONS", "TRACE", "BREW", "HEAD", "DELETE"} - set(allowed.split(", "))
        for method in sorted(methods):
            with subtests.test(path=path, method=method):
                response = await client.request(method, path)
                assert (response.status_code, response.headers["allow"]) == (405, allowed)
                if method != "HEAD":
                    problem = assert_problem(response, 405, "method_not_allowed")
                    assert problem["detail"] == f"{path} takes {allowed}, and not {method}"


async def test_a_slash_behind_an_address_is_passed_over(client, store):
    assert (await client.post("/v1/jobs/?processor=t.read", content=b"x")).status_code == 202
    assert (await client.post("/v1/files//", content=b"x")).status_code == 201
    file = await store(b"x")
    assert (await client.get(file["links"]["content"] + "/")).content == b"x"
    for path in ("/livez/", "/jobs/", "//"):
        assert (await client.get(path)).status_code == 200
    problem = assert_problem(await client.get("/nowhere/<b>/"), 404, "not_found")
    assert problem["detail"] == "there is nothing under /nowhere/%3Cb%3E"


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize(("root", "mounted"), [("/mill", False), ("", True)], ids=["root_path", "mounted"])
async def test_the_page_of_an_app_that_lies_below_another_has_a_slash(app, root, mounted):
    outer = Starlette(routes=[Mount("/mill", app)]) if mounted else app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer, root_path=root), base_url="http://a") as client:
        for path in ("/mill/", "/mill/livez", "/mill/livez/"):
            assert (await client.get(path)).status_code == 200


async def test_nothing_of_head_is_in_the_document(app):
    assert not [path for path, item in app.openapi()["paths"].items() if "head" in item]
