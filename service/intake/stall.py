"""How long a body may bring nothing."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

_LATE_S = 1.0


class StallWatch:
    """Ends a wait for the next piece that takes `limit_s`, as `asyncio.timeout` would end it.

    There is one timer for a whole body, which looks again when it is due: of a large body there are thousands of waits.
    A look that comes late says that the server was paused or held up: what came meanwhile is still to be taken, and the
    time begins anew.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Task[object] | None = None
        self._since = 0.0
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._look_at(self._loop.time() + self._limit_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def next(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return the next piece.

        Raises:
            StopAsyncIteration: there are no more.
            TimeoutError: none came in time.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is run by one
        cancelled_before = task.cancelling()
        self._waiting, self._since = task, self._loop.time()
        try:
            return await anext(pieces)
        except asyncio.CancelledError:
            if self._expired and task.cancelling() <= cancelled_before + 1:
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None
            if self._expired:
                self._expired = False
                task.uncancel()

    def _look(self) -> None:
        now = self._loop.time()
        if now - self._due > min(self._limit_s, _LATE_S):
            self._since = now
        due = (self._since if self._waiting else now) + self._limit_s
        if self._waiting and due <= now:
            self._expired = True
            self._waiting.cancel()
        else:
            self._look_at(due)

    def _look_at(self, due: float) -> None:
        self._due = due
        self._timer = self._loop.call_at(due, self._look)
