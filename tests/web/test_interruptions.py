"""Clients that go away or fall silent in mid-body, and servers that stop there: nothing of it is left."""

import asyncio
import threading

import pytest

import service.store.additions
import service.store.jobs
from tests.web.answers import MULTIPART, assert_problem, part

RAW = "/v1/jobs?processor=t.read"
FORM = b"--frontier\r\n" + part("processor", "t.read") + b"--frontier\r\n" + part("file", b"some", "a.txt")[:-2]
LARGE = bytes(64 * 1024)
BEGINNINGS = {
    "before anything": [],
    "in a header": [FORM[:100]],
    "in a field": [FORM[:60]],
    "in a file": [FORM],
    "in a large file": [FORM, *[LARGE] * 40],
    "after a file": [FORM + b"\r\n--frontier\r\n"],
    "in the second file": [FORM + b"\r\n--frontier\r\n" + part("file", b"more", "b.txt")[:-2]],
    "in the last boundary": [FORM + b"\r\n--fron"],
}


@pytest.fixture(params=[("POST", RAW, {}), ("POST", "/v1/files", {}), ("POST", "/v1/jobs", {"Content_Type": MULTIPART}),
                        ("POST", "/v1/jobs", {"Content_Type": "application/json"})])  # fmt: skip
def begin(request, exchange):
    """Return a function that begins a request, in each of the ways that there are."""
    method, path, headers = request.param
    return lambda: exchange(method, path, **headers)


async def test_a_client_that_hangs_up_leaves_nothing(begin, nothing_left, subtests):
    for case, pieces in BEGINNINGS.items():
        with subtests.test(case=case):
            upload = begin()
            upload.put(*pieces)
            await upload.all_taken()
            upload.hang_up()
            response = await upload.answer()  # nobody hears it
            assert response.status_code in {400, 413}  # a JSON document may not be large
            nothing_left()


@pytest.mark.settings(upload_stall_s=0.05)
async def test_a_client_that_falls_silent_is_told_so_and_leaves_nothing(exchange, nothing_left, subtests):
    for case, pieces in BEGINNINGS.items():
        for path, headers in ((RAW, {}), ("/v1/files", {}), ("/v1/jobs", {"Content_Type": MULTIPART})):
            with subtests.test(case=case, path=path):
                upload = exchange("POST", path, **headers)
                upload.put(*pieces)
                response = await upload.answer()
                problem = assert_problem(response, 408, "upload_stalled")
                assert f"after {sum(map(len, pieces))} bytes" in problem["detail"]
                assert "send the file again" in problem["detail"]
                assert response.headers["connection"] == "close"
                nothing_left()


async def test_a_request_that_the_server_ends_leaves_nothing(exchange, nothing_left, subtests):
    for case, pieces in BEGINNINGS.items():
        with subtests.test(case=case):
            upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
            upload.put(*pieces)
            await upload.all_taken()
            upload.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload.answer()
            nothing_left()


async def test_a_request_that_the_server_ends_in_its_commit_keeps_row_and_bytes(
    exchange, client, monkeypatch, finished, nothing_left
):
    reached, go_on, add_jobs = threading.Event(), threading.Event(), service.store.additions.add_jobs

    def add_late(connection, items):
        reached.set()
        assert go_on.wait(60)
        return add_jobs(connection, items)

    monkeypatch.setattr(service.store.jobs, "add_jobs", add_late)
    upload = exchange("POST", RAW)
    upload.end(b"bytes")
    await asyncio.to_thread(reached.wait)
    upload.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload.answer()
    go_on.set()
    while not (jobs := (await client.get("/v1/jobs")).json()["items"]):
        await asyncio.sleep(0)
    job = await finished(jobs[0])
    assert job["result"] == [["upload", 5, "bytes"]]
    await client.delete(job["links"]["self"])
    nothing_left()


async def test_many_clients_that_hang_up_together_leave_nothing(exchange, client, nothing_left):
    uploads = [exchange("POST", RAW) for _ in range(30)]
    for number, upload in enumerate(uploads):
        upload.put(*[LARGE] * (number % 20))
        upload.hang_up()
    for upload in uploads:
        assert_problem(await upload.answer(), 400, "client_disconnected")
    nothing_left()
    assert (await client.get("/readyz")).status_code == 200
