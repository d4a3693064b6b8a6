"""Request headers are held before anyone looks at them, so they are bounded: in size (431), and in time (408)."""

import asyncio
from http import HTTPStatus
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import BadRequestError, FilemillError, HeadersStalledError, RequestHeadersTooLargeError
from service.web.offered_upgrades import OneProtocol
from service.web.problems import PROBLEM_JSON, problem
from service.web.streaming import ABORT

MAX_HEADER_BYTES = 64 * 1024
HEADER_TIMEOUT_S = 15.0
_TOO_LARGE = f"the request line and the headers may have {MAX_HEADER_BYTES} bytes together"


class HeaderLimit:
    """Refuses requests whose headers came whole, and are too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and _size(scope) > MAX_HEADER_BYTES:
            await problem(RequestHeadersTooLargeError(_TOO_LARGE))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class BoundedHttpProtocol(OneProtocol):
    """HTTP/1.1 as uvicorn speaks it, for clients whose headers come to an end: it would gather them for ever."""

    _head_bytes = 0
    _in_body = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        """Give a new connection the time for its first headers."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the next bytes from the client."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_body or self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(RequestHeadersTooLargeError(_TOO_LARGE))
        elif self._head_bytes and self._deadline is None:
            self._await_headers()

    def on_message_begin(self) -> None:
        """Begin a request, with the power to drop its connection."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]  # what ours takes

    def on_headers_complete(self) -> None:
        """Take the headers as complete."""
        self._in_body = True
        self._end_wait()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take the request as complete: what comes next are headers."""
        self._in_body, self._head_bytes = False, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it says no more
        """Refuse what the parser cannot read, as anything else is refused."""
        self._refuse(BadRequestError("what came is not HTTP/1.1, or breaks its rules; nothing of it was taken"))

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(HEADER_TIMEOUT_S, self._give_up)

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._head_bytes:
            self._refuse(HeadersStalledError(f"they were not complete after {HEADER_TIMEOUT_S:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: FilemillError) -> None:
        if not self.transport.is_closing():
            self.transport.write(_refusal(error))
            self.transport.close()


def _size(scope: Scope) -> int:
    """Return about what the client sent before the body, in bytes."""
    begin = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return begin + cast("int", sum(len(name) + len(value) for name, value in scope["headers"]))


def _refusal(error: FilemillError) -> bytes:
    """Return an answer for a request that the application never saw."""
    body = bytes(problem(error).body)
    head = f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
    return head.encode() + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body
