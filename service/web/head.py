"""HEAD wherever GET is: the same call, with the same status and headers, and without the body (RFC 9110, 9.3.2)."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_ONLY = "filemill.head_only"
"""The key of the scope that tells long answers to stop after their headers: nobody takes what they would read."""

_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class HeadAsGet:
    """Answers HEAD with the headers of GET, so that no call has to know of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_bare(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET", HEAD_ONLY: True}, receive, send_bare)


class HeadFraming:
    """Lets HEAD of a stream say what uvicorn adds to GET alone: that a body of unknown length comes in chunks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["http_version"] != "1.1":
            await self._app(scope, receive, send)
            return

        async def send_framed(message: Message) -> None:
            await send(_framed(message) if message["type"] == "http.response.start" else message)

        await self._app(scope, receive, send_framed)


def _framed(start: Message) -> Message:
    headers = list(start.get("headers", ()))
    if start["status"] in _BODILESS or any(name == b"content-length" for name, _ in headers):
        return start
    return {**start, "headers": [*headers, (b"transfer-encoding", b"chunked")]}
