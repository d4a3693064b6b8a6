"""What the client does to the outside world, twice: blocking, and on an event loop. All else is written once.

The operations of the client are coroutines over a `Wire`. On `LoopWire` they are awaited like any other. On
`BlockingWire` nothing ever suspends, so that `run` can take them from beginning to end without an event loop.
"""

import ipaddress
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, ParamSpec, Protocol, TypeVar, cast

import anyio
import anyio.to_thread
import httpx

from service.client.answers import ServerUnreachableError, UnsendableError, refuse_problem
from service.client.calls import Call
from service.client.listening import hear_early_answers
from service.client.uploads import CountedStream, Moved, Reader, total_size
from service.errors import SettingsError

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_S = 10.0
PATIENCE_S = 60.0  # how long a server may be silent
SLOWEST_SYNC_BYTES_S = 10 * 1024**2  # it may be silent longer after an upload: it has to reach the disk


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body comes piece by piece."""

    status: int
    pieces: AsyncIterator[bytes]


class Wire(Protocol):
    """One way to send requests, to do what may block, and to pause."""

    async def send(
        self, call: Call, readers: Sequence[Reader] = (), on_progress: Moved | None = None
    ) -> httpx.Response:
        """Return the whole answer, good or bad."""
        ...

    def open(self, call: Call, piece_bytes: int | None = None) -> AbstractAsyncContextManager[Opened]:
        """Give the answer in pieces, of this size or as they come; raise `ProblemError` when the server said no."""
        ...

    async def work(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the function returns, which may wait for a disk."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class BlockingWire:
    """One thread, one connection pool."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None, sleep: Callable[[float], None] | None) -> None:
        self._url = url
        self._http = _made(httpx.Client, transport, url)
        self._sleep = sleep or time.sleep

    async def send(
        self, call: Call, readers: Sequence[Reader] = (), on_progress: Moved | None = None
    ) -> httpx.Response:
        with _reachable(self._url):
            return self._http.send(_request(self._http, call, readers, on_progress))

    @asynccontextmanager
    async def open(self, call: Call, piece_bytes: int | None = None) -> AsyncIterator[Opened]:
        with _reachable(self._url):
            response = self._http.send(_request(self._http, call), stream=True)
            try:
                if not response.is_success:
                    response.read()
                    refuse_problem(response)
                yield Opened(response.status_code, _as_async(response.iter_bytes(piece_bytes)))
            finally:
                response.close()

    async def work(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        self._sleep(seconds)

    async def close(self) -> None:
        self._http.close()


class LoopWire:
    """An event loop, asyncio's or trio's; files are read and written in threads."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self._url = url
        self._http = _made(httpx.AsyncClient, transport, url)
        hear_early_answers(self._http)

    async def send(
        self, call: Call, readers: Sequence[Reader] = (), on_progress: Moved | None = None
    ) -> httpx.Response:
        with _reachable(self._url):
            return await self._http.send(_request(self._http, call, readers, on_progress))

    @asynccontextmanager
    async def open(self, call: Call, piece_bytes: int | None = None) -> AsyncIterator[Opened]:
        with _reachable(self._url):
            response = await self._http.send(_request(self._http, call), stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    refuse_problem(response)
                yield Opened(response.status_code, response.aiter_bytes(piece_bytes))
            finally:
                await response.aclose()

    async def work(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def close(self) -> None:
        await self._http.aclose()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine over a `BlockingWire` returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise RuntimeError("a blocking call suspended")


# ---- requests


def check_url(url: str) -> httpx.URL:
    """Return the URL of a server.

    Raises:
        SettingsError: it is none.
    """
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")  # as the resolver will
    except (httpx.InvalidURL, UnicodeError) as error:
        raise SettingsError(f"FILEMILL_URL: {url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(f"FILEMILL_URL: {url!r} must begin with http:// or https:// and a host")
    return parsed


def _made(kind: Callable[..., T], transport: Any, url: str) -> T:
    """Return a client of httpx, which reads variables of its own.

    Raises:
        SettingsError: what they name cannot be used, or the URL is none.
    """
    options = _options(url)
    try:
        return kind(transport=transport, **options)
    except (httpx.InvalidURL, ValueError, ImportError, OSError) as error:
        raise SettingsError(
            f"what HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE or SSL_CERT_DIR says cannot be used: {error}"
        ) from error


def _options(url: str) -> dict[str, Any]:
    parsed = check_url(url)
    return {
        "base_url": parsed,
        # the certificates take 50 ms to load, and http:// has no use for them; redirects are not followed
        "verify": parsed.scheme == "https",
        # a proxy cannot reach a server on this machine
        "trust_env": not _is_loopback(parsed.host),
        "headers": {"Accept": "application/json"},
    }


def _request(
    http: httpx.Client | httpx.AsyncClient,
    call: Call,
    readers: Sequence[Reader] = (),
    on_progress: Moved | None = None,
) -> httpx.Request:
    silence_s = PATIENCE_S + call.patience_s + (total_size(readers) or 0) / SLOWEST_SYNC_BYTES_S
    try:
        request = http.build_request(
            call.method,
            call.path,
            params=call.query or None,
            headers=call.headers,
            json=call.body,
            data=call.form,
            # all that httpx needs of a file is `read`, and `seek` where there is a length
            files=[("file", (reader.name, cast("BinaryIO", reader))) for reader in readers] or None,
            timeout=httpx.Timeout(silence_s, connect=CONNECT_S),
        )
    except (ValueError, TypeError) as error:
        raise UnsendableError(f"the request cannot be sent: {error}") from error
    if readers:
        request.stream = CountedStream(cast("httpx.SyncByteStream", request.stream), readers, on_progress)
    return request


async def _as_async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ServerUnreachableError(
            f"no server answers at {url} ({_reason(error)}); start one with `filemill serve`, "
            "or name another with --url or FILEMILL_URL"
        ) from error
    except httpx.LocalProtocolError as error:
        raise UnsendableError(f"the request cannot be sent: {error}") from error
    except httpx.DecodingError as error:
        raise ServerUnreachableError(f"the answer of {url} cannot be read: {error}") from error
    except httpx.TransportError as error:
        raise ServerUnreachableError(f"the connection to {url} broke: {_reason(error)}") from error


def _is_loopback(host: str) -> bool:
    """Return whether the host is this machine: `localhost`, a name below it, 127.0.0.1 and the like, or 0.0.0.0."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_unspecified


def _reason(error: httpx.TransportError) -> str:
    """Return the system's words without its number: `Connection refused`."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
