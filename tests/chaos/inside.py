"""A whole service in this process, for tests that are not coroutines themselves: hypothesis wants functions."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

from service.app import create_app
from service.settings import Settings
from tests.fakes import Exchange

PROCESSORS = Path(__file__).parents[1] / "web" / "processors.py"
_SETTLING_S = 60.0
T = TypeVar("T")


class Inside:
    """The application and a client of it, on a loop of their own."""

    def __init__(self, runner: asyncio.Runner, app: Any, client: httpx.AsyncClient, data_dir: Path) -> None:
        self._runner = runner
        self.app = app
        self.client = client
        self.data_dir = data_dir

    def run(self, coroutine: Awaitable[T]) -> T:
        """Run a coroutine to its end."""

        async def awaited() -> T:
            async with asyncio.timeout(60):
                return await coroutine

        return self._runner.run(awaited())

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Call the API."""
        return self.run(self.client.request(method, path, **request))

    def send(self, path: str, headers: dict[str, str], pieces: list[bytes]) -> httpx.Response:
        """Send a body in these pieces."""

        async def sent() -> httpx.Response:
            exchange = Exchange(self.app, "POST", path, headers)
            exchange.put(*pieces)
            exchange.end()
            return await exchange.answer()

        return self.run(sent())

    def usage(self, tasks_before: int = 0) -> dict[str, int]:
        """Return how many tasks and descriptors there are, once what ends by itself has ended.

        That is when there are as few tasks as before, or after some seconds: the last job may be about to be settled.
        """

        async def tasks() -> int:
            deadline = time.monotonic() + _SETTLING_S
            for _ in range(100):
                await asyncio.sleep(0)
            while len(asyncio.all_tasks()) > tasks_before > 0 and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            return len(asyncio.all_tasks())

        return {"tasks": self.run(tasks()), "descriptors": len(os.listdir("/proc/self/fd"))}  # noqa: PTH208

    def leftovers(self) -> list[str]:
        """Return the files that stay on their way in, or at work, when the last job has ended."""
        deadline = time.monotonic() + _SETTLING_S
        places = (self.data_dir / "incoming", self.data_dir / "work")
        while found := [str(path) for place in places for path in place.rglob("*") if path.is_file()]:
            if time.monotonic() > deadline:
                break
            self.run(asyncio.sleep(0.01))
        return found


@contextlib.contextmanager
def open_inside(data_dir: Path, **changes: Any) -> Iterator[Inside]:
    """Open a service on this folder, and close it in the end."""
    values = {"data_dir": data_dir, "processors": str(PROCESSORS), "min_free_bytes": 0, "shutdown_grace_s": 0}
    app = create_app(Settings.model_validate({**values, "child_processes": 1, **changes}))

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as one:
            yield one

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        enter: Callable[..., Any] = stack.enter_async_context
        client = runner.run(enter(opened()))
        try:
            yield Inside(runner, app, client, data_dir)
        finally:
            runner.run(stack.aclose())
