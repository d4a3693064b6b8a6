"""HEAD wherever GET is: the same call, with the same status and headers, and without the body (RFC 9110, 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_ONLY = "filemill.head_only"
"""The key of the scope that tells long answers to stop after their headers: nobody takes what they would read."""


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
