"""One call of a URL: what is sent, what comes back, and what that means for the job."""

import asyncio
import email.utils
import json
import mimetypes
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiofiles
import httpx
from pydantic import JsonValue

from service.clock import SystemClock
from service.outgoing import ForbiddenAddressError, GuardedTransport, OutgoingRules, UnknownHostError
from service.processors.base import Fail, InputFile, JobContext, Retry
from service.tls import open_tls
from service.version import version

PIECE_BYTES = 256 * 1024
MAX_RETRY_AFTER_S = 86_400
CONNECT_LIMIT_S = 10.0
_OURS = {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "keep-alive"}
_FOR_ANYONE = {
    *("host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "transfer-encoding"),
    "idempotency-key",
}
_KEPT = ("content-type", "content-encoding", "etag", "last-modified", "location")


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for; see the params of `http.request`."""

    url: str
    method: str
    headers: Mapping[str, str]
    body: JsonValue
    timeout_s: float
    max_redirects: int
    max_response_bytes: int
    retry_statuses: tuple[int, ...]


async def call(job: JobContext, wanted: Call, outgoing_allow: str) -> dict[str, Any]:
    """Make the call and save the response; `outgoing_allow` is the setting of that name.

    Raises:
        Retry: the server cannot be reached, or its status says to come again.
        Fail: the call is not allowed, or refused.
    """
    content = _content(job, wanted.body)
    headers = _headers(job, wanted)
    try:
        async with asyncio.timeout(wanted.timeout_s):
            transport = GuardedTransport(OutgoingRules.parse(outgoing_allow), await open_tls())
            return await _call(job, wanted, transport, headers, content)
    except ForbiddenAddressError as error:
        raise Fail(f"the URL cannot be called: {error}", code="address_forbidden") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise Fail(f"the URL or a header is not valid: {error}", code="invalid_url") from None
    except UnknownHostError as error:
        raise Retry(str(error)) from None
    except (TimeoutError, httpx.TimeoutException):
        raise Retry(f"the server did not answer within {wanted.timeout_s:g} s") from None
    except httpx.HTTPError as error:
        raise Retry(f"the server cannot be reached: {type(error).__name__}: {error}"[:500]) from None


async def _call(
    job: JobContext,
    wanted: Call,
    transport: GuardedTransport,
    headers: httpx.Headers,
    content: "_FileBody | bytes | None",
) -> dict[str, Any]:
    limits = httpx.Timeout(wanted.timeout_s, connect=min(wanted.timeout_s, CONNECT_LIMIT_S))
    async with httpx.AsyncClient(transport=transport, timeout=limits, trust_env=False) as client:
        first = client.build_request(wanted.method, wanted.url, headers=headers, content=content)
        response = await _followed(client, first, wanted.max_redirects)
        try:
            _check_status(response, wanted.retry_statuses)
            return await _saved(job, response, wanted.max_response_bytes)
        finally:
            await response.aclose()


# ---- what is sent


class _FileBody:
    """The bytes of a file, as often as they are asked for: a redirect may ask again."""

    def __init__(self, file: InputFile) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aiofiles.open(self._file.path, "rb") as source:
            while piece := await source.read(PIECE_BYTES):
                yield piece


def _content(job: JobContext, body: JsonValue) -> _FileBody | bytes | None:
    if job.files and body is not None:
        raise Fail("give either an input file or a JSON body, not both", code="file_or_body")
    if job.files:
        return _FileBody(job.file)
    return None if body is None else json.dumps(body, ensure_ascii=False).encode()


def _headers(job: JobContext, wanted: Call) -> httpx.Headers:
    for name in wanted.headers:
        if name.lower() in _OURS:
            raise Fail(f"the header {name} is set by the server itself; leave it out", code="forbidden_header")
    headers = httpx.Headers({"User-Agent": f"filemill/{version()}", "Accept-Encoding": "identity"})
    if wanted.method != "GET":
        headers["Idempotency-Key"] = job.id
    if job.files:
        headers["Content-Type"] = job.file.media_type
    elif wanted.body is not None:
        headers["Content-Type"] = "application/json"
    headers.update(wanted.headers)
    if job.files:
        headers["Content-Length"] = str(job.file.path.stat().st_size)
    return headers


async def _followed(client: httpx.AsyncClient, first: httpx.Request, max_redirects: int) -> httpx.Response:
    """Send the request, and follow redirects; what was for the first host only is not sent to another."""
    current = first
    for _ in range(max_redirects + 1):
        response = await client.send(current, stream=True)
        if response.next_request is None or max_redirects == 0:
            return response
        await response.aclose()
        following = response.next_request
        if current.url.scheme == "https" and following.url.scheme != "https":
            raise Fail("the server redirects from https to http; call the other URL itself", code="insecure_redirect")
        if _origin(current.url) != _origin(following.url):
            for name in set(following.headers) - _FOR_ANYONE:
                del following.headers[name]
        current = following
    raise Fail(f"the server redirects more than {max_redirects} times; call the last URL", code="too_many_redirects")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


# ---- what comes back


def _check_status(response: httpx.Response, retry_statuses: tuple[int, ...]) -> None:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code in retry_statuses:
        raise Retry(f"the server answered {status}", delay_s=_retry_after_s(response))
    if not response.is_success:
        raise Fail(f"the server answered {status}, and not 2xx; correct the request", code="http_status")


def _retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, section 10.2.3), bounded; None if it says nothing of use."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:9]), MAX_RETRY_AFTER_S))
    try:
        seconds = (email.utils.parsedate_to_datetime(value) - SystemClock().now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


async def _saved(job: JobContext, response: httpx.Response, max_bytes: int) -> dict[str, Any]:
    """Write the response to the output as it came, if it has a body, and return what there is to say."""
    expected = int(length) if (length := response.headers.get("content-length", "")).isdigit() else 0
    if expected > max_bytes:
        raise _too_large(max_bytes)
    name = "response" + _suffix(response)
    size_bytes = 0
    async with aiofiles.open(job.folder / "response.part", "wb") as target:
        async for piece in response.aiter_raw():
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise _too_large(max_bytes)
            await target.write(piece)
            if expected:
                job.progress(size_bytes / expected)
    if size_bytes:
        (job.folder / "response.part").rename(job.output(name))
    kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
    return {
        "status": response.status_code,
        "headers": kept,
        "size_bytes": size_bytes,
        "output": name if size_bytes else None,
    }


def _too_large(max_bytes: int) -> Fail:
    return Fail(f"the response has more than {max_bytes:,} bytes; raise max_response_bytes", code="response_too_large")


def _suffix(response: httpx.Response) -> str:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return mimetypes.guess_extension(media_type) or ".bin"
