"""Tasks that the service cannot do without: whatever ends one, another takes its place, and the log says so."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

RETRY_S = 1.0
PAUSE_S = 0.1  # so that one that always ends at once does not keep the loop from others


class LastingTask:
    """Runs `work` as a task, and begins it anew whenever it ends before `may_end` allows it.

    Code that shares the event loop can cancel any task. What watches over this one is no task, but a callback. As long
    as it cannot be begun anew it is lost, and that is tried again.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str, may_end: Callable[[], bool]) -> None:
        self._work = work
        self.name = name
        self._may_end = may_end
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._waits = False  # to be begun anew
        self._is_over = False
        self._ended = asyncio.Event()  # it is over, or lost
        self._begin()

    @property
    def is_running(self) -> bool:
        """Whether it is at work."""
        return not self.task.done()

    @property
    def is_lost(self) -> bool:
        """Whether it has ended before it should, and cannot be begun anew."""
        return self._waits and (self._again is None or self._ended.is_set()) and not self._is_over

    def stop(self) -> None:
        """End it; `may_end` must allow that by now."""
        if self._again is not None:
            self._again.cancel()
        if self._waits:
            self._end()
        self.task.cancel()

    async def ended(self) -> None:
        """Return when it has ended for good, or is lost."""
        await self._ended.wait()

    def _begin(self) -> None:
        self._again = None
        try:
            self.task = self._loop.create_task(self._work(), name=self.name)
        except BaseException:
            self._ended.set()  # it is lost: nobody is to wait for it
            raise
        self._waits = False
        self._ended.clear()
        self.task.add_done_callback(self._on_end)

    def _begin_anew(self) -> None:
        if self._may_end():
            self._end()
            return
        try:
            self._begin()
        except BaseException:
            log.exception("a task that must not end cannot be begun anew", task=self.name)
            self._again = self._loop.call_later(RETRY_S, self._begin_anew)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        self._waits = True
        if self._is_over or self._may_end():
            self._end()
            return
        reason = "it was cancelled" if task.cancelled() else "it failed" if error else "it returned"
        log.error("a task ended that must not, and is begun anew", task=self.name, reason=reason, exc_info=error)
        self._begin_soon()

    def _end(self) -> None:
        self._is_over = True
        self._ended.set()

    def _begin_soon(self) -> None:
        self._again = self._loop.call_later(PAUSE_S, self._begin_anew)
