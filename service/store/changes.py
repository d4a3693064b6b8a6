"""Who waits for which job to finish, in this process."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from service.states import TERMINAL, State


class Finish:
    """The end of a job, to be awaited."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Return at the end of the job, or after `timeout_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.event.wait()


class Changes:
    """Tells those who wait, once a change is committed."""

    def __init__(self, on_gone: Callable[[str], None] = lambda _job_id: None) -> None:
        self._on_gone = on_gone
        self._waiting: dict[str, list[Finish]] = {}
        self._closed = False

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Finish]:
        """Give the end of the job; begin to watch before looking at its state, so that nothing is missed."""
        finish = Finish()
        self._waiting.setdefault(job_id, []).append(finish)
        if self._closed:
            finish.event.set()
        try:
            yield finish
        finally:
            self._waiting[job_id].remove(finish)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def tell(self, job_id: str, state: State) -> None:
        """Say that the job is in this state now."""
        if state in TERMINAL:
            for finish in self._waiting.get(job_id, ()):
                finish.event.set()

    def forget(self, job_id: str) -> None:
        """Say that the job is gone."""
        self._on_gone(job_id)
        for finish in self._waiting.get(job_id, ()):
            finish.event.set()

    def close(self) -> None:
        """Let go all who wait: the server stops."""
        self._closed = True
        for waiting in self._waiting.values():
            for finish in waiting:
                finish.event.set()
