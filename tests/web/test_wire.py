"""What only a server on the wire meets: offers of other protocols, codings of the transfer, and what is no HTTP."""

import asyncio
import json

import pytest

from service.web.head import HeadFraming
from tests.web.test_limits import listening

HEAD = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
LENGTH = b"Content-Length: 5\r\n\r\nhello"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAA\r\n"
"""What Java's HttpClient sends with its first request."""


async def read_answer(reader):
    """Return the status and the JSON of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


@pytest.fixture
async def connect(app):
    """Return a function that connects to a server."""
    async with listening(HeadFraming(app)) as address, asyncio.timeout(60):
        writers = []

        async def connect():
            reader, writer = await asyncio.open_connection(*address)
            writers.append(writer)
            return reader, writer

        yield connect
        for writer in writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "offer", [H2C, b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"]
)
@pytest.mark.parametrize("body", [LENGTH, CHUNKS])
async def test_the_body_of_a_request_that_offers_another_protocol_is_read(connect, offer, body):
    reader, writer = await connect()
    writer.write(2 * (HEAD + offer + body) + HEAD + body)
    for _ in range(3):
        status, file = await read_answer(reader)
        assert (status, file["size_bytes"]) == (201, 5)
    writer.write(1000 * (b"GET /livez HTTP/1.1\r\nHost: a\r\n" + H2C + b"\r\n"))  # more than Python calls deep
    assert [(await read_answer(reader))[0] for _ in range(1000)] == 1000 * [200]
    for byte in HEAD + offer + body:  # in pieces of any size
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert (await read_answer(reader))[1]["size_bytes"] == 5


async def test_a_request_without_a_body_may_offer_another_protocol_and_the_next_one_is_answered(connect):
    reader, writer = await connect()
    for _ in range(2):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n" + H2C + b"\r\n")
        assert (await read_answer(reader))[0] == 200
    writer.write(HEAD + LENGTH)
    assert (await read_answer(reader))[1]["size_bytes"] == 5


async def test_a_coding_of_the_transfer_that_is_not_undone_is_named(connect, nothing_left):
    reader, writer = await connect()
    writer.write(HEAD + CHUNKS.replace(b"chunked", b"gzip, chunked", 1))
    status, problem = await read_answer(reader)
    assert (status, problem["code"]) == (415, "unsupported_encoding")
    assert "gzip" in problem["detail"]
    nothing_left()


@pytest.mark.parametrize(
    "request_", [b"FOO / HTTP/1.1\r\n\r\n", HEAD + b"Content-Length: +5\r\n\r\n", b"\x16\x03\x01\x02\x00", H2C]
)
async def test_what_is_no_http_is_refused_with_a_problem(connect, request_):
    reader, writer = await connect()
    writer.write(request_)
    status, problem = await read_answer(reader)
    assert (status, problem["code"]) == (400, "bad_request")
    assert await reader.read() == b""


async def test_head_of_a_stream_of_events_says_what_get_says(connect, submit, finished):
    job = await finished(await submit(processor="t.read"))
    for path in ("/v1/events", f"/v1/jobs/{job['id']}/events", "/v1/jobs"):
        heads = []
        for method in ("GET", "HEAD"):
            reader, writer = await connect()
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            lines = (await reader.readuntil(b"\r\n\r\n")).lower().splitlines()
            heads.append(sorted(line for line in lines if not line.startswith(b"date")))
        assert heads[0] == heads[1]
