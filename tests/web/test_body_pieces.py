"""Bodies in pieces of every size come whole, and cost no more than their length."""

import asyncio
import hashlib
import json
from types import SimpleNamespace
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from service.web.body_pieces import PiecesProtocol
from tests.web.test_limits import listening

HEAD = b"POST /v1/files?filename=a HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n"


def protocol_with(body):
    """Return a protocol in the middle of a request of which so much was not taken yet."""
    protocol: Any = PiecesProtocol(Config(lambda: None, log_config=None), ServerState(), {})
    protocol.parser = SimpleNamespace(should_upgrade=lambda: False)
    protocol.cycle = SimpleNamespace(body=body, response_complete=False, message_event=asyncio.Event())
    return protocol


async def test_a_piece_that_nothing_is_before_is_handed_on_without_a_copy():
    protocol, piece = protocol_with(bytearray()), bytes(1000)
    protocol.on_body(piece)
    assert protocol.cycle.body is piece
    assert protocol.cycle.message_event.is_set()


async def test_many_pieces_that_nobody_has_taken_are_gathered_in_a_buffer_that_grows():
    protocol = protocol_with(bytearray())
    for piece in (b"a", b"b", b"c"):
        protocol.on_body(piece)
    assert protocol.cycle.body == b"abc"
    assert isinstance(protocol.cycle.body, bytearray)  # bytes would be copied whole for each


async def test_thousands_of_chunks_of_one_byte_and_requests_in_a_row_come_whole(app):
    data = bytes(range(256)) * 100
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"
    plain = HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data
    async with listening(app) as address, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(plain + HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + plain)
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 201 ")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
            file = json.loads(await reader.readexactly(length))
            assert (file["size_bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        writer.close()
        await writer.wait_closed()
