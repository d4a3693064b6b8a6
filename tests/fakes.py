"""Stand-ins for the outside world: a clock that tests move, and a client that sends a body as badly as it likes."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

Message = dict[str, Any]
_PATIENCE_S = 60


def plain_environment() -> dict[str, str]:
    """Return the environment for a pytest within a pytest: without the options of the one around it."""
    return {
        name: value for name, value in os.environ.items() if name not in {"PYTEST_ADDOPTS", "COVERAGE_PROCESS_START"}
    }


class FakeClock:
    """A `Clock` that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


class Exchange:
    """One HTTP request whose body the test hands over piece by piece.

    `taken` counts the messages that the application has received. The body ends with `end`, or with `hang_up`; a
    test that calls neither leaves the application waiting.
    """

    def __init__(self, app: Any, method: str, path: str, headers: Mapping[str, str] | None = None) -> None:
        url = httpx.URL("http://filemill" + path)
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method,
            "path": url.path, "raw_path": url.raw_path, "query_string": url.query, "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1"))
                        for name, value in (headers or {}).items()],
            "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "state": {},
        }  # fmt: skip
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._sent: list[Message] = []
        self.taken = 0
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    def put(self, *pieces: bytes) -> None:
        """Hand over the next pieces of the body."""
        for piece in pieces:
            self._messages.put_nowait({"type": "http.request", "body": piece, "more_body": True})

    def end(self, piece: bytes = b"") -> None:
        """Hand over the last piece."""
        self._messages.put_nowait({"type": "http.request", "body": piece, "more_body": False})

    def hang_up(self) -> None:
        """Close the connection."""
        self._messages.put_nowait({"type": "http.disconnect"})

    async def all_taken(self) -> None:
        """Wait until the application asks for more than it was handed."""
        while not (self._messages.empty() and self._is_asking) and not self.task.done():
            await asyncio.sleep(0)

    async def answer(self) -> httpx.Response:
        """Wait for the answer; an application that waits for more than the test gives is stopped."""
        async with asyncio.timeout(_PATIENCE_S):
            await self.task
        start, *rest = self._sent
        content = b"".join(message.get("body", b"") for message in rest)
        return httpx.Response(start["status"], headers=start["headers"], content=content)

    _is_asking = False

    async def _receive(self) -> Message:
        self._is_asking = True
        message = await self._messages.get()
        self._is_asking = False
        self.taken += 1
        return message

    async def _send(self, message: Message) -> None:
        self._sent.append(message)
