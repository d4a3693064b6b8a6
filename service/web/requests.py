"""From an HTTP request to what the layers below take."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Request, Response
from starlette.requests import ClientDisconnect

from service.errors import BadRequestError, ClientDisconnectedError, InvalidCursorError, UnsupportedEncodingError
from service.intake.disposition import filename_of
from service.intake.incoming import Incoming
from service.runtime import Runtime
from service.store.ids import is_id
from service.web.schemas import EXAMPLE_ID

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\"?)(\d{1,100})\1\s*(?:[,;]|$)", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"bytes\s+0-(\d{1,18})/(\d{1,18})", re.IGNORECASE | re.ASCII)
_MAX_DIGITS = 18
_PLAIN = {
    "Content-Encoding": {"", "identity"},
    "Transfer-Encoding": {"", "chunked", "identity"},  # the server undoes the chunks, and leaves the rest as it is
    "Content-Transfer-Encoding": {"", "7bit", "8bit", "binary", "identity"},  # of mail, but some clients send it
}


async def runtime_of(request: Request) -> Runtime:
    """Return the running service; `async`, because FastAPI calls any other in a thread."""
    runtime: Runtime = request.app.state.runtime
    return runtime


Service = Annotated[Runtime, Depends(runtime_of)]
JobId = Annotated[str, Path(description="the job's `id`", examples=[EXAMPLE_ID])]
FileId = Annotated[str, Path(description="the file's `id`", examples=[EXAMPLE_ID])]
ProcessorName = Annotated[str, Path(description="the processor's `name`", examples=["image.thumbnail"])]


def incoming_of(request: Request) -> Incoming:
    """Return the body of a request, unread.

    Raises:
        BadRequestError: a header or a query parameter came twice, or the body is a part of something.
        UnsupportedEncodingError: the body is encoded.
    """
    _require_not_encoded(request)
    _require_whole(request)
    return Incoming(
        content_type=single_header(request, "Content-Type") or "",
        content_length=_length(request.headers.get("content-length", "")),
        query=_query(request),
        stream=_body(request),
        idempotency_key=single_header(request, "Idempotency-Key"),
        filename=filename_of((single_header(request, "Content-Disposition") or "").encode("latin-1")),
    )


async def refuse_doubled_query(request: Request) -> None:
    """Refuse a query parameter that came twice, of which FastAPI would take the last.

    Raises:
        BadRequestError: one did.
    """
    _query(request)


def single_header(request: Request, name: str) -> str | None:
    """Return a header of which there can be only one.

    Raises:
        BadRequestError: it came twice, and nobody knows which one is meant.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise BadRequestError(f"the header {name} came {len(values)} times; send it once")
    return values[0] if values else None


def wait_s(request: Request, longest_s: float) -> float | None:
    """Return the seconds that the client prefers to wait (RFC 7240), up to those that the server goes along with."""
    found = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(found[2]), longest_s) if found else None


def apply_wait(response: Response, seconds: float) -> None:
    """Say how far the preference was honoured."""
    response.headers["Preference-Applied"] = f"wait={seconds:g}"


def cursor_of(cursor: str | None) -> str | None:
    """Return the id that the page before ended with.

    Raises:
        InvalidCursorError: the text is no id.
    """
    if cursor is not None and not is_id(cursor):
        raise InvalidCursorError(f"{cursor[:100]!r} is no cursor; take `next_cursor` of the page before")
    return cursor


def _require_not_encoded(request: Request) -> None:
    """Refuse an encoded body: decoded, a few bytes can be gigabytes, and kept as it is, it would not be the file."""
    for header, plain in _PLAIN.items():
        encodings = [one.strip() for value in request.headers.getlist(header) for one in value.split(",")]
        if encoded := [one for one in encodings if one.lower() not in plain]:
            raise UnsupportedEncodingError(
                f"{header}: {', '.join(encoded)[:100]} is not decoded here; send the body as it is, without this header"
            )


def _require_whole(request: Request) -> None:
    """Refuse a piece of a file, which would be taken for the whole of it (RFC 9110, section 14.5)."""
    for piece in request.headers.getlist("Content-Range"):
        found = _WHOLE.fullmatch(piece.strip())
        if found is None or int(found[1]) + 1 != int(found[2]):
            raise BadRequestError(
                f"Content-Range: {piece[:100]} says that the body is a piece of a file, and nobody here puts them "
                "together; send the file in one request"
            )


def _length(announced: str) -> int | None:
    """Return the length that the client announced; a number of absurd length is cut, and still too large."""
    return int(announced[:_MAX_DIGITS]) if announced.isascii() and announced.isdigit() else None


def _query(request: Request) -> dict[str, str]:
    pairs = request.query_params.multi_items()
    query = dict(pairs)
    if len(query) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise BadRequestError(f"the query parameter {doubled[:100]!r} came twice")
    return query


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise ClientDisconnectedError("the client went away before the body was complete") from None
