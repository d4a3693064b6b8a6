"""Connections on an event loop that hear an early answer while a body is still being sent.

A server may refuse an upload at its head, and close once it has read on for a moment (RFC 9112, section 9.5). A
blocking client finds that answer waiting when its next write fails. asyncio throws it away with the connection, so here
it is read while the write is under way; httpcore takes the end of the write, and goes on to the answer.
"""

import ssl
from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpcore
import httpx

_PIECE_BYTES = 65_536
_SMALL_BYTES = 4096  # heads and the ends of forms: no server answers in the middle of one


def hear_early_answers(http: httpx.AsyncClient) -> None:
    """Have the client's connections listen while they send.

    httpx has no public way to this. Where its insides have changed, an early answer may be lost, and nothing else.
    """
    for transport in (http._transport, *http._mounts.values()):  # noqa: SLF001
        pool = getattr(transport, "_pool", None)
        if (backend := getattr(pool, "_network_backend", None)) is not None:
            pool._network_backend = _Backend(backend)  # type: ignore[union-attr]  # noqa: SLF001


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - theirs
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that keeps what comes while it sends; a write ends with it."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._early: bytes | None = None
        self._hears = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._early is None:
            return await self._inner.read(max_bytes, timeout)
        piece, rest = self._early[:max_bytes], self._early[max_bytes:]
        self._early = rest or None
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if len(buffer) < _SMALL_BYTES:
            await self._inner.write(buffer, timeout)
            return
        failure: httpcore.NetworkError | httpcore.TimeoutException | None = None
        self._hears = True
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, group.cancel_scope)
            try:
                await self._hear_out()
                await self._inner.write(buffer, timeout)
                await self._hear_out()
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:  # raised here, it would be in a group
                failure = error
            group.cancel_scope.cancel()
        if self._early is not None:
            raise httpcore.WriteError("the server answered before it had all")
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    async def _listen(self, sending: anyio.CancelScope) -> None:
        try:
            self._early = await self._inner.read(_PIECE_BYTES)
            sending.cancel()
        except httpcore.NetworkError:
            pass  # the write meets it too
        finally:
            self._hears = False

    async def _hear_out(self) -> None:
        """Wait until what has come is read: it may be an answer, or what TLS sends beside."""
        while self._hears and self._inner.get_extra_info("is_readable"):
            await anyio.lowlevel.checkpoint()
