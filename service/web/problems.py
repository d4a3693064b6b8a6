"""Errors as problem details (RFC 9457): one handler for all of them."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.errors import (
    BadRequestError,
    ClientDisconnectedError,
    DatabaseUnavailableError,
    FieldError,
    FieldTooLargeError,
    FilemillError,
    HeadersStalledError,
    IdempotencyKeyInFlightError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    MalformedMultipartError,
    MethodNotAllowedError,
    NotFoundError,
    PartHeadersTooLargeError,
    PayloadTooLargeError,
    RangeNotSatisfiableError,
    RequestHeadersTooLargeError,
    ShuttingDownError,
    StorageFailedError,
    StorageFullError,
    TooManyPartsError,
    UnsupportedContentTypeError,
    UnsupportedEncodingError,
    UploadStalledError,
    names_of,
    plain_reason,
)

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"
PROBLEMS = "/problems"
_MOST_FIELDS, _PATH_CHARS = 100, 200
_Errors = tuple[type[FilemillError], ...]

# what any call may answer, any that looks into the database, any that changes it, and any that takes a body
_ANY_ERRORS: _Errors = (HeadersStalledError, RequestHeadersTooLargeError, FilemillError)
LOOK_ERRORS: _Errors = (DatabaseUnavailableError,)
CHANGE_ERRORS: _Errors = (DatabaseUnavailableError, ShuttingDownError)
BODY_ERRORS: _Errors = (
    BadRequestError, MalformedMultipartError, ClientDisconnectedError, UploadStalledError, IdempotencyKeyInFlightError,
    PayloadTooLargeError, FieldTooLargeError, TooManyPartsError, UnsupportedContentTypeError, UnsupportedEncodingError,
    InvalidRequestError, IdempotencyKeyReusedError, PartHeadersTooLargeError, StorageFailedError, *CHANGE_ERRORS,
    StorageFullError,
)  # fmt: skip


class FieldProblem(BaseModel):
    """One thing that is wrong with one field."""

    field: str = Field(examples=["params.width"])
    code: str = Field(examples=["less_than_equal"])
    message: str = Field(examples=["Input should be less than or equal to 16384"])


class Problem(BaseModel):
    """What went wrong: `code` is stable, `detail` is for people."""

    type: str = Field(description="leads to what can be done about it", examples=["/problems/invalid_params"])
    title: str = Field(examples=["The params do not fit the processor"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["image.thumbnail cannot take these params: params.width"])
    code: str = Field(examples=["invalid_params"])
    errors: list[FieldProblem] | None = None


# what `problem_responses` refers to: a `model` in there would be filed under application/json
PROBLEM_SCHEMAS: dict[str, Any] = models_json_schema(
    [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
)[1]["$defs"]


def problem_responses(*errors: type[FilemillError]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of the errors that a call may answer with: for each status, an example of each.

    Those that any call may answer with are among them.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for error in sorted({*errors, *_ANY_ERRORS}, key=lambda error: (error.http_status, error.code)):
        entry = responses.setdefault(error.http_status, {"description": "", "content": {PROBLEM_JSON: {}}})
        entry["description"] = "; ".join(filter(None, [entry["description"], f"{error.title()} (`{error.code}`)"]))
        media = entry["content"][PROBLEM_JSON]
        media["schema"] = {"$ref": "#/components/schemas/Problem"}
        example = _body(error.code, error.http_status, error.title(), f"{error.title()}.")
        media.setdefault("examples", {})[error.code] = {"summary": error.title(), "value": example}
    return responses


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error with a problem."""
    app.add_exception_handler(FilemillError, _handle_ours)
    app.add_exception_handler(RequestValidationError, _handle_validation)
    app.add_exception_handler(HTTPException, _handle_http)
    app.add_exception_handler(Exception, _handle_unknown)


def problem(error: FilemillError) -> JSONResponse:
    """Return the answer to an error."""
    headers = {}
    if isinstance(error, RangeNotSatisfiableError):
        headers["Content-Range"] = f"bytes */{error.size_bytes}"
    if isinstance(error, UnsupportedEncodingError):
        headers["Accept-Encoding"] = "identity"  # RFC 9110, section 15.5.16
    if error.http_status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE):
        headers["Retry-After"] = "10"
    if error.http_status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"
    body = _body(error.code, error.http_status, error.title(), error.detail)
    if error.errors:
        body["errors"] = [_field(item) for item in error.errors[:_MOST_FIELDS]]
    return JSONResponse(body, error.http_status, headers, media_type=PROBLEM_JSON)


def _body(code: str, status: int, title: str, detail: str) -> dict[str, Any]:
    return {"type": f"{PROBLEMS}/{code}", "title": title, "status": status, "detail": detail, "code": code}


def _field(item: FieldError) -> dict[str, str]:
    return {"field": item.field[:200], "code": item.code, "message": item.message}


async def _handle_ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FilemillError)  # noqa: S101 - that is what it is registered for
    if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request failed", code=error.code, error=error.detail)
    return problem(error)


async def _handle_validation(_: Request, error: Exception) -> JSONResponse:
    """Answer a query or path parameter that does not fit."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = [
        FieldError(".".join(map(str, item["loc"][1:])), item["type"], plain_reason(item["msg"]))
        for item in error.errors()
    ]
    return problem(InvalidRequestError(f"not valid: {names_of(errors)}", errors=errors))


async def _handle_http(request: Request, error: Exception) -> JSONResponse:
    """Answer what the router says of an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    path = quote(request.scope["path"][:_PATH_CHARS])
    if status == HTTPStatus.NOT_FOUND:
        return problem(NotFoundError(f"there is nothing under {path}"))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(_methods_at(request))
        answer = problem(MethodNotAllowedError(f"{path} takes {allowed}, and not {request.method}"))
        answer.headers["Allow"] = allowed
        return answer
    # a kind that is told by its status alone (RFC 9457, section 4.2.1)
    body = _body(status.name.lower(), status.value, status.phrase, str(error.detail)) | {"type": "about:blank"}
    return JSONResponse(body, status.value, error.headers, media_type=PROBLEM_JSON)


def _methods_at(request: Request) -> list[str]:
    """Return what the address does take (RFC 9110, section 15.5.6): the router names the methods of one route only."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    routes = request.app.routes
    allowed = {name for name in _METHODS if any(one.matches(scopes[name])[0] is Match.FULL for one in routes)}
    if "GET" in allowed:
        allowed.add("HEAD")  # `HeadAsGet` sees to that
    return [name for name in _METHODS if name in allowed]


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


async def _handle_unknown(_: Request, error: Exception) -> JSONResponse:
    log.error("request broke", exc_info=error)
    return problem(FilemillError("something went wrong inside the server; its log says what"))
