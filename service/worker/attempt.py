"""One attempt that runs as a task, and what is done about one that does not end when it is told to."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import structlog

from service.steady_loop import forget
from service.worker.runner import Broke, Verdict
from service.worker.time_limit import RunningTimer

log = structlog.get_logger()


class Attempt:
    """The task of one attempt. Told to stop, it has `stop_limit_s` seconds; then it is given up.

    An `async def` may swallow its cancellation. The one that is given up is ended by force where it waits, as a
    generator is that nobody reads on: no more of it runs but what it does on GeneratorExit.
    """

    def __init__(self, work: Coroutine[Any, Any, Verdict], stop_limit_s: float, **facts: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._stop_limit_s = stop_limit_s
        self._facts = facts
        self._patience: RunningTimer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_told_to_stop = False
        self.is_given_up = False
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(self._on_end)

    def expect_end_within(self, limit_s: float) -> None:
        """Give it up when it runs longer than this and `stop_limit_s`: its runner should have stopped it."""
        self._be_patient(limit_s + self._stop_limit_s)

    def stop(self) -> None:
        """Cancel it."""
        if not self._task.done():
            self._is_told_to_stop = True
            self._task.cancel()
            self._be_patient(self._stop_limit_s)

    async def ended(self) -> None:
        """Return when it has ended, or was given up; only one may wait for that."""
        while not (self._task.done() or self.is_given_up):
            self._waiter = self._loop.create_future()
            await self._waiter

    @property
    def was_stopped(self) -> bool:
        """Whether it was told to stop, and did."""
        return self._is_told_to_stop and self._was_cancelled

    @property
    def was_cancelled_by_others(self) -> bool:
        """Whether code on the event loop has cancelled it, its own or that of another attempt."""
        return not self._is_told_to_stop and self._was_cancelled

    @property
    def _was_cancelled(self) -> bool:
        return self._task.done() and self._task.cancelled()

    def verdict(self) -> Verdict:
        """Return what it came to; raises what its runner has raised."""
        if self.was_cancelled_by_others:
            return Broke("failed", "the attempt was cancelled by code on the event loop")
        return self._task.result()

    def _be_patient(self, limit_s: float) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = RunningTimer(limit_s, self._give_up)

    def _give_up(self) -> None:
        if self._task.done() or self.is_given_up:
            return
        self.is_given_up = True
        log.error("processor does not end when it is told to, and was given up", **self._facts)
        with contextlib.suppress(BaseException):  # it may refuse even that, or raise anything else
            self._work.close()
        self._task.cancel()  # the task is to find out that there is nothing left to run
        forget(self._task)
        self._wake()

    def _on_end(self, task: asyncio.Task[Verdict]) -> None:
        if self._patience is not None:
            self._patience.cancel()
        if self.is_given_up and not task.cancelled():
            task.exception()  # nobody else asks
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
