"""Long answers to clients that may stop listening."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from service.errors import FileChangedError
from service.web.head import HEAD_ONLY

STALL_S = 30.0
ABORT = "filemill.abort"
"""The ASGI extension by which a server lets the application drop the connection, with what waits to be sent."""


class ImpatientResponse(StreamingResponse):
    """A stream that cuts off a client which takes nothing for `STALL_S` seconds; it can resume.

    Where the bytes turn out not to be those that were promised, the connection is cut off too: nobody takes them for
    the whole.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; for HEAD its headers alone, without a look at what is in it."""
        if scope.get(HEAD_ONLY):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def impatient(message: Message) -> None:
            async with asyncio.timeout(STALL_S):
                await send(message)

        try:
            with suppress(ClientDisconnect):
                await super().__call__(scope, receive, impatient)
        except TimeoutError:
            _abort(scope)
        except FileChangedError:
            if not _abort(scope):
                raise


def _abort(scope: Scope) -> bool:
    """Drop the connection: a close would wait for the client to take what is in the buffers; False if it cannot be."""
    if (abort := scope.get("extensions", {}).get(ABORT)) is None:
        return False
    cast("Callable[[], None]", abort)()
    return True
