"""http.request: a job that calls a URL."""

import asyncio
import importlib
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from service.catalogue.server import ServerSettings
from service.processors.base import JobContext, processor

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
HeaderValue = Annotated[
    str,
    Field(pattern=r"^[\x20-\x7e\t]*$", max_length=8000, json_schema_extra={"writeOnly": True}),  # may be a token
]
Status = Annotated[int, Field(ge=300, le=599)]


@processor("http.request", min_files=0, max_files=1, reads_only=True)
async def request(  # noqa: PLR0913 - each one is a param
    job: JobContext,
    *,
    url: Annotated[str, Field(min_length=8, max_length=4000, pattern=r"^https?://[^\s\x00-\x1f\x7f]+$")],
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None,
    headers: Annotated[dict[HeaderName, HeaderValue] | None, Field(max_length=50)] = None,
    body: JsonValue = None,
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60,
    max_redirects: Annotated[int, Field(ge=0, le=10)] = 5,
    max_response_bytes: Annotated[int, Field(ge=0, le=10 * 1024**3)] = 100 * 1024**2,
    retry_statuses: Annotated[tuple[Status, ...], Field(max_length=50)] = (408, 425, 429, 500, 502, 503, 504),
    settings: ServerSettings,
) -> dict[str, Any]:
    """Call a URL with a file or a JSON body, and save the response.

    A status of 2xx is success. After the statuses in `retry_statuses`, and when the host cannot be reached, the
    job is tried again, not before a Retry-After. Addresses that are not public are refused, unless the setting
    OUTGOING_ALLOW names them. Every attempt sends the job's id as Idempotency-Key, unless it is a GET.

    Args:
        url: URL to call.
        method: method; default: POST with a body or a file, else GET.
        headers: headers to send.
        body: JSON to send; an input file is sent instead, as it is.
        timeout_s: seconds that all of it may take.
        max_redirects: how many redirects to follow.
        max_response_bytes: largest response that is saved, in bytes.
        retry_statuses: statuses after which the job is tried again.
    """
    calling = await asyncio.to_thread(importlib.import_module, "service.catalogue.http.calling")  # httpx is slow
    verb = method or ("GET" if body is None and not job.files else "POST")
    result: dict[str, Any] = await calling.call(
        job,
        calling.Call(
            url=url,
            method=verb,
            headers=headers or {},
            body=body,
            timeout_s=timeout_s,
            max_redirects=max_redirects,
            max_response_bytes=max_response_bytes,
            retry_statuses=retry_statuses,
        ),
        settings.outgoing_allow,
    )
    return result
