"""From an HTTP request to what the layers below take."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.requests import ClientDisconnect

from service.errors import BadRequestError, ClientDisconnectedError
from service.intake.incoming import Incoming
from service.runtime import Runtime

MAX_WAIT_S = 60.0
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", re.IGNORECASE)


def runtime_of(request: Request) -> Runtime:
    """Return the running service."""
    runtime: Runtime = request.app.state.runtime
    return runtime


Service = Annotated[Runtime, Depends(runtime_of)]


def incoming_of(request: Request) -> Incoming:
    """Return the body of a request, unread."""
    length = request.headers.get("content-length")
    return Incoming(
        content_type=request.headers.get("content-type", ""),
        content_length=int(length) if length and length.isascii() and length.isdigit() else None,
        query=_query(request),
        stream=_body(request),
        idempotency_key=request.headers.get("idempotency-key"),
    )


def wait_s(request: Request) -> float | None:
    """Return the seconds that the client prefers to wait (RFC 7240), as far as the server goes along."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(found[1]), MAX_WAIT_S) if found else None


def apply_wait(response: Response, seconds: float) -> None:
    """Say that the preference was honoured."""
    response.headers["Preference-Applied"] = f"wait={seconds:g}"


def _query(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    if len(query) != len(pairs):
        raise BadRequestError("a query parameter came twice")
    return query


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise ClientDisconnectedError("the client went away before the body was complete") from None
