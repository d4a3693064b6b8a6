"""Sizes and numbers: 413 as soon as it is known, and nothing of what came is left."""

import asyncio
import contextlib
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from service.web import header_limit, prompt_close, streaming
from service.web.header_limit import MAX_HEADER_BYTES, BoundedHttpProtocol
from service.web.prompt_close import PromptClose
from tests.web.answers import MULTIPART, assert_problem, form, multipart, part

KIB = 1024
RAW = "/v1/jobs?processor=t.read"


@pytest.fixture(params=[RAW, "/v1/files", "form"])
def way(request):
    """Each way for a file to come: the path, the headers, and what stands before the bytes."""
    if request.param == "form":
        return "/v1/jobs", {"Content_Type": MULTIPART}, b"--frontier\r\n" + part("file", b"", "a")[:-2]
    return request.param, {}, b""


@pytest.mark.settings(max_upload_bytes=10 * KIB)
async def test_a_body_that_announces_too_much_is_refused_before_it_is_read(exchange, way, nothing_left, subtests):
    path, headers, _ = way
    for length in (str(10 * KIB + 1), "9" * 18, "9" * 5000):
        with subtests.test(length=length[:20]):
            upload = exchange("POST", path, Content_Length=length, **headers)
            problem = assert_problem(await upload.answer(), 413, "payload_too_large")
            assert "10240 bytes" in problem["detail"]
            assert upload.taken == 0
    nothing_left()


@pytest.mark.settings(max_upload_bytes=10 * KIB)
async def test_a_body_that_turns_out_too_large_is_refused_there_and_then(exchange, way, nothing_left):
    path, headers, begin = way
    upload = exchange("POST", path, **headers)
    upload.put(begin, *(bytes(KIB) for _ in range(50)))
    assert "10240 bytes" in assert_problem(await upload.answer(), 413, "payload_too_large")["detail"]
    assert upload.taken <= 12
    nothing_left()


@pytest.mark.settings(max_upload_bytes=3 * 1024 * KIB)
async def test_a_large_body_leaves_nothing_when_its_end_is_too_much(exchange, way, nothing_left):
    path, headers, begin = way
    upload = exchange("POST", path, **headers)
    upload.put(begin, *(bytes(64 * KIB) for _ in range(60)))
    assert_problem(await upload.answer(), 413, "payload_too_large")
    nothing_left()


@pytest.mark.settings(max_upload_bytes=10 * KIB)
async def test_a_body_of_just_the_limit_is_taken(client):
    response = await client.post("/v1/files", content=bytes(10 * KIB))
    assert (response.status_code, response.json()["size_bytes"]) == (201, 10 * KIB)


@pytest.mark.settings(max_upload_bytes=10 * KIB)
async def test_a_length_that_is_no_number_is_not_believed(exchange, subtests):
    for length in ("-1", "many", "", "1e3", "\xb2"):
        with subtests.test(length=length):
            upload = exchange("POST", "/v1/files", Content_Length=length)
            upload.end(b"bytes")
            assert (await upload.answer()).json()["size_bytes"] == 5


@pytest.mark.settings(max_field_bytes=KIB)
async def test_a_field_that_is_too_large_is_refused_while_it_comes(exchange, nothing_left, subtests):
    for name in ("metadata", "processor", "anything"):
        with subtests.test(name=name):
            upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
            upload.put(b"--frontier\r\n" + part(name, b"")[:-2], *(b"x" * 500 for _ in range(20)))
            assert "1024 bytes" in assert_problem(await upload.answer(), 413, "field_too_large")["detail"]
            assert upload.taken <= 5
    nothing_left()


@pytest.mark.settings(max_field_bytes=KIB)
async def test_a_field_of_just_the_limit_is_taken(client):
    metadata = {"a": "x" * (KIB - len('{"a": ""}'))}
    response = await client.post("/v1/jobs", files=form(processor="t.echo", metadata=metadata))
    assert response.json()["metadata"] == metadata


@pytest.mark.settings(max_field_bytes=KIB)
async def test_a_json_body_is_as_small_as_a_field(client, exchange, nothing_left):
    big = {"processor": "t.echo", "metadata": {"a": "x" * KIB}}
    assert "1024 bytes" in assert_problem(await client.post("/v1/jobs", json=big), 413, "payload_too_large")["detail"]
    upload = exchange("POST", "/v1/jobs", Content_Type="application/json")
    upload.put(*(b" " * 500 for _ in range(20)))
    assert_problem(await upload.answer(), 413, "payload_too_large")
    assert upload.taken <= 4
    nothing_left()


@pytest.mark.settings(max_fields=3)
async def test_too_many_fields_are_refused(client, nothing_left):
    body = multipart(part("file", b"x", "a"), *(part(f"field{number}", b"") for number in range(4)))
    response = await client.post("/v1/jobs", content=body, headers={"Content-Type": MULTIPART})
    assert "3 fields" in assert_problem(response, 413, "too_many_parts")["detail"]
    nothing_left()


@pytest.mark.settings(max_files=2)
async def test_too_many_files_are_refused_before_the_last_is_read(client, exchange, store, settings, nothing_left):
    upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
    begin = multipart(part("file", b"1", "a"), part("file", b"2", "b"), part("file", b"3", "c"))[:-14]
    upload.put(begin)
    assert "2 files" in assert_problem(await upload.answer(), 413, "too_many_parts")["detail"]
    nothing_left()
    ids = [(await store(b"x"))["id"]] * 3
    response = await client.post("/v1/jobs", json={"processor": "t.read", "files": ids})
    assert "2 files" in assert_problem(response, 413, "too_many_parts")["detail"]
    assert len(list((settings.data_dir / "files").iterdir())) == 1


@pytest.mark.settings(max_files=2, max_fields=1)
async def test_just_as_many_files_and_fields_as_the_limits_are_taken(client):
    response = await client.post("/v1/jobs", files=form(("a", b"1"), ("b", b"2"), processor="t.read"))
    assert len(response.json()["inputs"]) == 2


async def test_more_files_than_the_processor_takes_are_refused_before_they_are_read(exchange, nothing_left):
    photo = part("file", b"\x89PNG\r\n\x1a\n", "a.png")
    upload = exchange("POST", "/v1/jobs", Content_Type=MULTIPART)
    upload.put(multipart(part("processor", "t.photos"), photo, photo, photo)[:-14])
    assert "1 to 2 files" in assert_problem(await upload.answer(), 422, "wrong_file_count")["detail"]
    nothing_left()


async def test_request_headers_beyond_the_limit_are_refused(client, nothing_left, subtests):
    many = {f"X-{number}": "x" * 1000 for number in range(100)}
    for case, headers in {"one": {"X-Long": "x" * 100_000}, "many": many}.items():
        for method, path in (("GET", "/v1/jobs"), ("POST", RAW), ("GET", "/livez"), ("GET", "/nowhere")):
            with subtests.test(case=case, path=path):
                response = await client.request(method, path, headers=headers)
                assert "65536 bytes" in assert_problem(response, 431, "request_headers_too_large")["detail"]
    with subtests.test(case="a long query"):
        response = await client.get("/v1/jobs?processor=" + "x" * 60_000, headers={"X-Long": "x" * 6000})
        assert_problem(response, 431, "request_headers_too_large")
    nothing_left()


@asynccontextmanager
async def listening(app):
    """Serve the application on the wire as `filemill serve` does, and give the address."""
    protocol = partial(BoundedHttpProtocol, Config(PromptClose(app), log_config=None), ServerState(), {})
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1")
    yield server.sockets[0].getsockname()
    server.close()


async def test_headers_that_never_end_are_refused_on_the_wire(app, subtests):
    protocol = partial(BoundedHttpProtocol, Config(app, log_config=None), ServerState(), {})
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1")
    begin = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
    for case, earlier, first, more in [
        ("one header", b"", begin + b"X: ", b"x"),
        ("many headers", b"", begin, b"X: y\r\n"),
        ("the address", b"", b"GET /", b"x"),
        ("after another request", begin + b"\r\n", begin, b"X: y\r\n"),
    ]:
        with subtests.test(case=case):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            if earlier:
                writer.write(earlier)
                assert await reader.readuntil(b'"ok"}')
            # one byte too many, so that nothing stays unread: the answer would be lost with it
            writer.write((first + more * MAX_HEADER_BYTES)[: MAX_HEADER_BYTES + 1])
            async with asyncio.timeout(60):
                answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert answer.endswith(b'"code":"request_headers_too_large"}')
            writer.close()
            await writer.wait_closed()
    server.close()


async def test_a_long_body_is_not_taken_for_headers(app):
    protocol = partial(BoundedHttpProtocol, Config(app, log_config=None), ServerState(), {})
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        for _ in range(3):
            assert (await client.post("/v1/files", content=bytes(300_000))).json()["size_bytes"] == 300_000
    server.close()


async def test_headers_that_stop_arriving_are_given_up_in_time(app, monkeypatch, subtests):
    monkeypatch.setattr(header_limit, "HEADER_TIMEOUT_S", 0.05)
    whole = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    async with listening(app) as address:
        for case, sent in {"first": b"", "after another": whole}.items():
            with subtests.test(case=case):
                reader, writer = await asyncio.open_connection(*address)
                if sent:
                    writer.write(sent)
                    assert await reader.readuntil(b'"ok"}')
                writer.write(whole[:20])
                async with asyncio.timeout(60):
                    answer = await reader.read()
                assert answer.startswith(b"HTTP/1.1 408 ")
                assert b'"code":"headers_stalled"' in answer
                writer.close()
        with subtests.test(case="nothing at all"):
            reader, writer = await asyncio.open_connection(*address)
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()


async def test_a_slow_body_and_a_slow_answer_are_no_slow_headers(app, monkeypatch):
    monkeypatch.setattr(header_limit, "HEADER_TIMEOUT_S", 0.5)
    async with listening(app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        await asyncio.sleep(1)  # well beyond the limit
        writer.write(b"y")
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 201 Created\r\n"
        writer.close()


@pytest.mark.parametrize("length", [b"Content-Length: 99999999999999", b"Transfer-Encoding: chunked"])
async def test_after_an_early_refusal_the_connection_closes_however_much_still_comes(
    app, monkeypatch, length, subtests
):
    begin = b"POST /v1/jobs?processor=nope HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n\r\n"
    piece = b"10000\r\n" + bytes(64 * KIB) + b"\r\n"
    async with listening(app) as address:
        for case, limit in {"much": ("LINGER_BYTES", 256 * KIB), "for long": ("LINGER_S", 0.1)}.items():
            with subtests.test(case=case), monkeypatch.context() as patch:
                patch.setattr(prompt_close, *limit)
                reader, writer = await asyncio.open_connection(*address)
                writer.write(begin)
                async with asyncio.timeout(60):
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert head.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 413 "))
                    assert head.lower().count(b"connection: close\r\n") == 1
                    with contextlib.suppress(ConnectionError):
                        while True:
                            writer.write(piece)
                            await writer.drain()
                writer.close()


async def test_a_client_that_reads_only_after_it_sent_all_still_gets_the_refusal(app):
    async with listening(app) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /v1/jobs?processor=nope HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
        writer.write(bytes(4_000_000))
        async with asyncio.timeout(60):
            await writer.drain()
            answer = await reader.read()
        assert b'"code":"unknown_processor"' in answer
        writer.close()


async def test_a_connection_goes_on_after_a_refusal_that_came_at_the_end_of_the_body(app):
    async with listening(app) as (host, port), httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        response = await client.post("/v1/jobs", json={"processor": "nope"})
        assert response.status_code == 404
        assert "connection" not in response.headers


async def test_a_download_that_nobody_takes_gives_its_connection_up(app, monkeypatch):
    monkeypatch.setattr(streaming, "STALL_S", 0.1)
    async with listening(app) as (host, port):
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            file = (await client.post("/v1/files", content=bytes(30_000_000))).json()
        reader, writer = await asyncio.open_connection(host, port, limit=KIB)
        writer.write(f"GET {file['links']['content']} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.5)  # it takes nothing, for longer than the limit
        taken = 0
        async with asyncio.timeout(60):
            while piece := await reader.read(KIB * KIB):
                taken += len(piece)
        assert taken < 30_000_000
        writer.close()
        await writer.wait_closed()
