"""GET /v1/files/{id}/content: ranges, validators, and the headers that keep a hostile file harmless."""

import asyncio
import hashlib
import os
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from service.web import streaming
from tests.web.answers import assert_problem

CONTENT = b"0123456789"
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture
def download(client, store):
    """Return a function that downloads a file of ten bytes with these headers."""
    links: list[str] = []

    async def download(method="GET", **headers):
        if not links:
            links.append((await store(CONTENT))["links"]["content"])
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, links[0], headers=names)

    return download


async def test_the_whole_file_comes_with_its_headers(download):
    response = await download()
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["content-length"] == "10"
    assert response.headers["etag"] == ETAG
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"].partition(";")[0] == "text/plain"
    assert "content-range" not in response.headers


async def test_no_browser_runs_what_is_in_a_file(client, store):
    page = await store(b"<!DOCTYPE html><script>alert(1)</script>", "page.html")
    headers = (await client.get(page["links"]["content"])).headers
    assert headers["content-disposition"].startswith("attachment;")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")


async def test_head_answers_as_get_does_without_the_bytes(download):
    get, head = await download(), await download("HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == get.headers


async def test_head_of_a_range_says_its_length(download):
    head = await download("HEAD", Range="bytes=2-4")
    assert (head.status_code, head.content, head.headers["content-length"]) == (206, b"", "3")


async def test_a_range_is_that_part_of_the_file(download, subtests):
    for header, expected, where in [
        ("bytes=0-0", b"0", "0-0"),
        ("bytes=2-5", b"2345", "2-5"),
        ("bytes=5-", b"56789", "5-9"),
        ("bytes=0-", CONTENT, "0-9"),
        ("bytes=-3", b"789", "7-9"),
        ("bytes=-10", CONTENT, "0-9"),
        ("bytes=-99", CONTENT, "0-9"),
        ("bytes=8-99999999999999999", b"89", "8-9"),
        ("bytes= 2 - 5 ", b"2345", "2-5"),
        ("Bytes=2-5", b"2345", "2-5"),
        ("bytes=,2-5,", b"2345", "2-5"),
        ("bytes=8-" + "9" * 50, b"89", "8-9"),
    ]:
        with subtests.test(header=header):
            response = await download(Range=header)
            assert (response.status_code, response.content) == (206, expected)
            assert response.headers["content-range"] == f"bytes {where}/10"
            assert response.headers["content-length"] == str(len(expected))
            assert response.headers["etag"] == ETAG


async def test_a_range_that_begins_beyond_the_end_is_refused(download, subtests):
    for header in ("bytes=10-", "bytes=10-20", "bytes=" + "9" * 50 + "-", "bytes=-0"):
        with subtests.test(header=header):
            response = await download(Range=header)
            assert "10 bytes" in assert_problem(response, 416, "range_not_satisfiable")["detail"]
            assert response.headers["content-range"] == "bytes */10"


async def test_a_range_that_is_not_one_range_of_bytes_is_ignored(download, subtests):
    for header in (
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,4-5", "pages=1-2", "bytes=--5",
        "bytes=0x1-0x2", "bytes=1.5-2", "bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000, "bytes=\xb2-\xb3",
    ):  # fmt: skip
        with subtests.test(header=header[:30]):
            response = await download(Range=header.encode("latin-1"))
            assert (response.status_code, response.content) == (200, CONTENT)


async def test_of_an_empty_file_a_range_from_its_begin_is_the_whole_of_it(client, store, subtests):
    content = (await store(b""))["links"]["content"]
    for header in ("bytes=0-", "bytes=0-0", "bytes=0-99", "bytes=-1", "bytes=-0"):
        for method in ("GET", "HEAD"):
            with subtests.test(header=header, method=method):
                response = await client.request(method, content, headers={"Range": header})
                assert (response.status_code, response.content) == (200, b"")
                assert response.headers["content-length"] == "0"
                assert "content-range" not in response.headers
    for header in ("bytes=1-", "bytes=5-9"):  # the client has bytes that were never in this file
        assert_problem(await client.get(content, headers={"Range": header}), 416, "range_not_satisfiable")


async def test_if_range_keeps_a_resumed_download_whole(download, subtests):
    for validator, status in [
        (ETAG, 206),
        ('"other"', 200),
        (f"W/{ETAG}", 200),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 200),
    ]:
        with subtests.test(validator=validator):
            response = await download(Range="bytes=2-", If_Range=validator)
            assert response.status_code == status
            assert response.content == (CONTENT[2:] if status == 206 else CONTENT)


async def test_headers_that_come_in_several_lines_are_one_list(client, store):
    link = (await store(CONTENT))["links"]["content"]
    for name, values, status in (
        ("If-None-Match", ['"a"', ETAG], 304),
        ("If-Match", ['"a"', ETAG], 200),
        ("Range", ["bytes=0-1", "bytes=4-5"], 200),
    ):
        assert (await client.get(link, headers=[(name, value) for value in values])).status_code == status


async def test_the_date_of_a_file_is_a_validator_too(client, store):
    file = await store(CONTENT)
    link, stored = file["links"]["content"], datetime.fromisoformat(file["created_at"]).replace(microsecond=0)
    before, at, after = (format_datetime(stored + timedelta(hours=hour), usegmt=True) for hour in (-1, 0, 1))
    assert (await client.get(link)).headers["last-modified"] == at
    for headers, status in (
        ({"If-Modified-Since": before}, 200), ({"If-Modified-Since": at}, 304), ({"If-Modified-Since": after}, 304),
        ({"If-Modified-Since": "yesterday"}, 200), ({"If-Modified-Since": after, "If-None-Match": '"a"'}, 200),
        ({"If-Unmodified-Since": before}, 412), ({"If-Unmodified-Since": at}, 200), ({"If-Unmodified-Since": "x"}, 200),
        ({"If-Unmodified-Since": before, "If-Match": ETAG}, 200),
        ({"If-Range": at, "Range": "bytes=0-1"}, 206), ({"If-Range": after, "Range": "bytes=0-1"}, 200),
    ):  # fmt: skip
        assert (await client.get(link, headers=headers)).status_code == status, headers


async def test_other_bytes_than_are_wanted_are_not_sent(download):
    for wanted in (ETAG, "*", f'"a", {ETAG}'):
        assert (await download(If_Match=wanted, Range="bytes=0-1")).status_code == 206
    for wanted in ('"a"', f"W/{ETAG}", ETAG.strip('"'), ""):
        assert ETAG in assert_problem(await download(If_Match=wanted), 412, "precondition_failed")["detail"]


async def test_a_client_that_has_the_bytes_does_not_get_them_again(download, subtests):
    for known in (ETAG, f"W/{ETAG}", f'"a", {ETAG}', "*", f'{ETAG} , W/"b"'):
        with subtests.test(known=known):
            response = await download(If_None_Match=known)
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == ETAG


async def test_a_client_that_has_other_bytes_gets_these(download, subtests):
    for known in ('"other"', ETAG.strip('"'), "", '"*"', "\xff"):
        with subtests.test(known=known):
            assert (await download(If_None_Match=known.encode("latin-1"))).content == CONTENT


async def test_what_is_current_is_not_sent_as_a_range_either(download):
    assert (await download(If_None_Match=ETAG, Range="bytes=0-1")).status_code == 304


async def test_an_output_is_downloaded_like_any_file(client, submit, finished):
    job = await finished(await submit(processor="t.write", params={"name": "out.txt", "text": "done"}))
    response = await client.get(job["outputs"][0]["links"]["content"])
    assert (response.text, response.headers["content-disposition"].partition(";")[0]) == ("done", "attachment")


async def test_a_range_is_read_across_the_pieces_of_a_large_file(client, store):
    content = bytes(range(256)) * 12_288  # 3 MiB
    link = (await store(content))["links"]["content"]
    start, stop = 1024**2 - 3, 2 * 1024**2 + 5
    response = await client.get(link, headers={"Range": f"bytes={start}-{stop - 1}"})
    assert response.content == content[start:stop]


async def test_a_download_whose_bytes_are_gone_is_a_problem_and_no_broken_answer(client, store, settings):
    file = await store(CONTENT)
    (settings.data_dir / "files" / file["id"]).unlink()
    for headers in ({}, {"Range": "bytes=2-4"}):
        response = await client.get(file["links"]["content"], headers=headers)
        assert "are gone" in assert_problem(response, 500, "storage_failed")["detail"]
    assert (await client.head(file["links"]["content"])).status_code == 500


async def test_a_file_that_is_deleted_just_before_it_is_opened_is_not_found(client, store, runtime, monkeypatch):
    file = await store(CONTENT)
    open_part = runtime.storage.open_part

    @asynccontextmanager
    async def too_late(*args):
        await runtime.control.delete_file(file["id"])
        async with open_part(*args) as pieces:
            yield pieces

    monkeypatch.setattr(runtime.storage, "open_part", too_late)
    assert_problem(await client.get(file["links"]["content"]), 404, "file_not_found")


async def test_a_download_is_closed_after_the_answer(client, store, runtime, monkeypatch):
    file, events = await store(CONTENT), []
    open_part = runtime.storage.open_part

    @asynccontextmanager
    async def watched(*args):
        async with open_part(*args) as pieces:
            yield pieces
        events.append("closed")

    monkeypatch.setattr(runtime.storage, "open_part", watched)
    assert (await client.get(file["links"]["content"])).content == CONTENT
    assert (await client.head(file["links"]["content"])).status_code == 200
    assert events == ["closed", "closed"]


async def test_a_client_that_takes_nothing_of_a_download_is_cut_off(app, store, monkeypatch):
    monkeypatch.setattr(streaming, "STALL_S", 0.01)
    file, aborted = await store(CONTENT), list[str]()

    async def never(_message=None):
        await asyncio.Event().wait()

    await asyncio.wait_for(app(scope_of(file["links"]["content"], aborted), never, never), 60)
    assert aborted == ["aborted"]


def scope_of(link, aborted):
    """Return a GET as a server hands it on that can drop the connection."""
    return {"type": "http", "method": "GET", "path": link, "query_string": b"", "headers": [],
            "http_version": "1.1", "scheme": "http", "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": ("filemill", 80), "client": ("127.0.0.1", 1), "root_path": "",
            "extensions": {streaming.ABORT: lambda: aborted.append("aborted")}}  # fmt: skip


# ---- bytes that are not those that were uploaded

LARGE = bytes(range(256)) * 12_288  # 3 MiB
WAYS = {
    "longer": lambda content: content + b"x",
    "shorter": lambda content: content[:-1],
    "other": lambda content: b"?" + content[1:],
    "other at the end": lambda content: content[:-1] + b"?",
}


@pytest.fixture
def spoilt(store, settings):
    """Return a function that stores a file and spoils it; `late` is whether its time of change tells."""

    async def spoilt(content, way, *, late):
        file = await store(content)
        path = settings.data_dir / "files" / file["id"]
        path.chmod(0o600)
        path.write_bytes(WAYS[way](content))
        os.utime(path, (2**32, 2**32) if late else (1, 1))
        return file["links"]["content"]

    return spoilt


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_a_file_whose_bytes_have_changed_is_a_problem_in_every_way(client, spoilt, way, late):
    link = await spoilt(CONTENT, way, late=late)
    for headers in ({}, {"Range": "bytes=2-4"}, {"If-None-Match": ETAG}):
        problem = assert_problem(await client.get(link, headers=headers), 500, "file_changed")
        assert "are not those that were uploaded" in problem["detail"]
    assert (await client.head(link)).status_code == 500


async def test_no_large_file_is_hashed_to_say_that_it_is_known_or_how_long_a_range_is(client, spoilt):
    link = await spoilt(LARGE, "other", late=False)
    known = await client.get(link, headers={"If-None-Match": "*"})
    head = await client.head(link, headers={"Range": "bytes=2-4"})
    assert (known.status_code, head.status_code, head.headers["content-length"]) == (304, 206, "3")


@pytest.mark.parametrize("way", WAYS)
async def test_a_large_file_that_was_written_to_later_is_a_problem_before_a_byte_is_sent(client, spoilt, way):
    link = await spoilt(LARGE, way, late=True)
    for headers in ({}, {"Range": "bytes=2-4"}, {"If-None-Match": "*"}):
        assert_problem(await client.get(link, headers=headers), 500, "file_changed")


@pytest.mark.parametrize("way", ["other", "other at the end"])
async def test_a_large_file_that_changed_in_secret_is_cut_off_so_that_nobody_takes_it_for_whole(app, spoilt, way):
    link, sent, aborted = await spoilt(LARGE, way, late=False), list[Any](), list[str]()

    async def send(message):
        sent.append(message)

    async def receive():
        await asyncio.Event().wait()

    await asyncio.wait_for(app(scope_of(link, aborted), receive, send), 60)
    assert (sent[0]["status"], aborted) == (200, ["aborted"])
    assert sum(len(message["body"]) for message in sent[1:]) == 2 * 1024**2
    assert all(message["more_body"] for message in sent[1:])


async def test_a_file_that_was_only_touched_is_sent(client, store, settings):
    for content in (CONTENT, LARGE):
        file = await store(content)
        os.utime(settings.data_dir / "files" / file["id"], (2**32, 2**32))
        for _ in range(2):
            assert (await client.get(file["links"]["content"])).content == content
        part = await client.get(file["links"]["content"], headers={"Range": "bytes=2-4"})
        assert part.content == content[2:5]


async def test_what_is_gone_is_not_current(client, store, settings):
    file = await store(CONTENT)
    (settings.data_dir / "files" / file["id"]).unlink()
    response = await client.get(file["links"]["content"], headers={"If-None-Match": ETAG})
    assert_problem(response, 500, "storage_failed")
