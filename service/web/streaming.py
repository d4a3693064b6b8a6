"""Long answers to clients that may stop listening."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

STALL_S = 30.0
ABORT = "filemill.abort"
"""The ASGI extension by which a server lets the application drop the connection, with what waits to be sent."""


class ImpatientResponse(StreamingResponse):
    """A stream that cuts off a client which takes nothing for `STALL_S` seconds; it can resume."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def impatient(message: Message) -> None:
            async with asyncio.timeout(STALL_S):
                await send(message)

        try:
            with suppress(ClientDisconnect):
                await super().__call__(scope, receive, impatient)
        except TimeoutError:
            _abort(scope)


def _abort(scope: Scope) -> None:
    """Drop the connection: a close would wait for the client to take what is in the buffers."""
    if (abort := scope.get("extensions", {}).get(ABORT)) is not None:
        cast("Callable[[], None]", abort)()
