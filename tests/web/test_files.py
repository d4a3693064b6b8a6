"""/v1/files: store, look, delete; and uploads of some size, whichever way they come."""

import hashlib
import random

import pytest

from service.store.ids import new_id
from tests.web.answers import assert_problem, form

PIECE = 65_536 - 7


@pytest.fixture(scope="module")
def large():
    """A few MiB that no piece of a power of two divides."""
    return random.Random(4).randbytes(3 * 1024**2 + 17)


async def test_a_form_stores_a_file(client):
    response = await client.post("/v1/files", files=form(("a.txt", b"hello")))
    file = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/files/{file['id']}" == file["links"]["self"]
    assert (file["name"], file["size_bytes"], file["media_type"]) == ("a.txt", 5, "text/plain")
    assert file["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert (await client.get(file["links"]["self"])).json() == file


async def test_a_raw_body_stores_a_file(client):
    response = await client.post("/v1/files?filename=a%2Fb.bin", content=b"\x89PNG\r\n\x1a\n")
    assert (response.status_code, response.json()["name"]) == (201, "a/b.bin")


async def test_an_empty_file_is_a_file(client, store):
    for file in (await store(b""), (await client.post("/v1/files")).json()):
        assert (file["size_bytes"], file["sha256"]) == (0, hashlib.sha256(b"").hexdigest())
        assert (await client.get(file["links"]["content"])).content == b""


async def test_a_json_document_is_stored_like_any_file(client):
    document = b'{"a": 1e400} is not even JSON'
    response = await client.post("/v1/files", content=document, headers={"Content-Type": "application/json"})
    assert response.status_code == 201
    assert (await client.get(response.json()["links"]["content"])).content == document


async def test_a_large_form_arrives_byte_for_byte(client, store, large):
    file = await store(large)
    assert (file["size_bytes"], file["sha256"]) == (len(large), hashlib.sha256(large).hexdigest())
    assert (await client.get(file["links"]["content"])).content == large


async def test_a_large_raw_body_arrives_byte_for_byte_in_pieces_of_any_size(exchange, client, large):
    upload = exchange("POST", "/v1/files", Content_Type="application/octet-stream")
    upload.put(*(large[at : at + PIECE] for at in range(0, len(large), PIECE)))
    upload.end()
    file = (await upload.answer()).json()
    assert (file["size_bytes"], file["sha256"]) == (len(large), hashlib.sha256(large).hexdigest())
    assert (await client.get(file["links"]["content"])).content == large


async def test_a_body_in_pieces_of_one_byte_arrives(exchange, client):
    upload = exchange("POST", "/v1/files")
    upload.put(*(bytes([number % 256]) for number in range(3000)), b"", b"")
    upload.end(b"!")
    file = (await upload.answer()).json()
    expected = bytes(number % 256 for number in range(3000)) + b"!"
    assert (await client.get(file["links"]["content"])).content == expected


async def test_a_deleted_file_is_gone(client, store, nothing_left):
    file = await store(b"hello")
    response = await client.delete(file["links"]["self"])
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await client.get(file["links"]["self"]), 404, "file_not_found")
    assert_problem(await client.get(file["links"]["content"]), 404, "file_not_found")
    assert_problem(await client.delete(file["links"]["self"]), 404, "file_not_found")
    nothing_left()


async def test_a_file_that_an_unfinished_job_needs_cannot_be_deleted(client, store, gate):
    file = await store(b"hello")
    job = (await client.post("/v1/jobs", json={"processor": "t.hold", "files": [file["id"]]})).json()
    await gate.reached.wait()
    problem = assert_problem(await client.delete(file["links"]["self"]), 409, "file_in_use")
    assert "cancel the job" in problem["detail"]
    assert (await client.get(file["links"]["content"])).content == b"hello"
    await client.post(job["links"]["cancel"])
    assert (await client.delete(file["links"]["self"])).status_code == 204


async def test_a_file_that_is_not_there_is_not_found(client, subtests):
    for file_id in (new_id(), "1", "%00", "%ff%fe", "x" * 5000, "%2e%2e%5cetc", "%F0%9F%92%A9"):
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            with subtests.test(file_id=file_id, method=method, path=path):
                response = await client.request(method, f"/v1/files/{file_id}{path}")
                assert len(assert_problem(response, 404, "file_not_found")["detail"]) < 200


async def test_what_is_not_one_file_is_refused(client, nothing_left, subtests):
    file, field = ("file", ("a.txt", b"x")), ("name", (None, b"value"))
    for case, parts in {"two files": [file, file], "a field": [file, field], "a field first": [field, file]}.items():
        with subtests.test(case=case):
            assert_problem(await client.post("/v1/files", files=parts), 422, "invalid_request")
    with subtests.test(case="no file"):
        assert_problem(await client.post("/v1/files", files=[field]), 422, "invalid_request")
    with subtests.test(case="another name"):
        problem = await client.post("/v1/files", files=[("photo", ("a.txt", b"x"))])
        assert "`file`" in assert_problem(problem, 422, "invalid_request")["detail"]
    with subtests.test(case="a query"):
        assert_problem(await client.post("/v1/files?colour=red", content=b"x"), 422, "invalid_request")
    nothing_left()


async def test_the_bytes_of_stored_files_are_counted(client, store):
    await store(b"12345")
    await client.post("/v1/jobs?processor=t.read", content=b"678")
    assert "filemill_upload_bytes_total 8.0" in (await client.get("/metrics")).text
