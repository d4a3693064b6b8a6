"""A request that is answered before its body has come: the rest is not read for ever. One that is cut off is told why.

A server that simply closes would lose the answer with the bytes that wait unread (RFC 9112, section 9.6). So the
answer goes out whole, with `Connection: close`; then the body is read and dropped for a moment, and then it closes.
"""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ShuttingDownError
from service.web.problems import problem

_CUT_OFF = "the server stopped before the request was complete, and kept nothing of it; send it again"
LINGER_S = 2.0
LINGER_BYTES = 16 * 1024 * 1024


class PromptClose:
    """Closes each connection whose request was answered before its body ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # uvicorn does that when the grace is over, and would answer with a bare 500
            if not exchange.is_answered:
                await problem(ShuttingDownError(_CUT_OFF))(scope, receive, send)
            raise


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_read = False
        self._closes = False
        self.is_answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):  # the end of the body, or of the connection
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        self.is_answered = True
        if message["type"] == "http.response.start" and not self._is_read:
            self._closes = True
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        if not self._closes or message["type"] != "http.response.body" or message.get("more_body"):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._linger()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _linger(self) -> None:
        """Give the client the time to notice the answer."""
        dropped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._is_read and dropped < LINGER_BYTES:
                    dropped += len((await self.receive()).get("body", b""))


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
