"""Who holds up the event loop: a thread that listens to the loop's heartbeat, and names what ran when it stopped.

A thread, because whatever blocks the loop blocks every task on it, and the one that would tell.
"""

import asyncio
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, Self

import structlog

from service.clock import SystemClock
from service.processors.base import LogNote
from service.worker.runner import OnLoop

log = structlog.get_logger()

LAG_S = 0.5
BEAT_S = 0.1
_MESSAGE = "the event loop was held up: `await` what takes long, or make the processor a plain `def`"


class LoopWatchdog:
    """Warns, once for each time, when the loop does not come round for `lag_s` seconds. Use as `async with`.

    `running` says which task runs which attempt; the warning goes to the server's log, and to that of the job.
    """

    def __init__(self, running: Mapping[asyncio.Task[Any], OnLoop], lag_s: float = LAG_S) -> None:
        self._running = running
        self._lag_s = lag_s
        self._clock = SystemClock()
        self._beat_at = self._clock.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="loop-watchdog", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._next.cancel()
        self._thread.join()

    def _beat(self) -> None:
        self._beat_at = self._clock.monotonic()
        self._next = self._loop.call_later(BEAT_S, self._beat)

    # ---- in the thread

    def _listen(self) -> None:
        told_of = 0.0
        while not self._is_over.wait(BEAT_S):
            beat_at = self._beat_at
            if self._clock.monotonic() - beat_at > self._lag_s + BEAT_S and beat_at != told_of:
                told_of = beat_at
                self._tell(self._clock.monotonic() - beat_at)

    def _tell(self, lag_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to another thread's stack
        task, attempt = self._who(frame)
        facts: dict[str, Any] = {"lag_s": round(lag_s, 3)}
        if frame is not None:
            facts["at"] = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if task is None or attempt is None:
            log.warning("event loop held up", processor=None, **facts)
            return
        job = attempt.assignment
        log.warning("event loop held up", processor=job.processor.name, job_id=job.job_id, **facts)
        self._loop.call_soon_threadsafe(self._note, task, LogNote(_MESSAGE, facts))

    def _who(self, frame: FrameType | None) -> tuple[asyncio.Task[Any] | None, OnLoop | None]:
        """Return the attempt whose task runs, or else the one whose code is on the stack: it may use other tasks."""
        task = asyncio.current_task(self._loop)
        if task is not None and (attempt := self._running.get(task)) is not None:
            return task, attempt
        stack = list(_stack_of(frame))
        suspects = [item for item in list(self._running.items()) if _is_of_function(stack, item[1])]
        suspects = suspects or [item for item in list(self._running.items()) if _is_of_module(stack, item[1])]
        return suspects[0] if len({one.assignment.processor.name for _, one in suspects}) == 1 else (None, None)

    # ---- on the loop

    def _note(self, task: asyncio.Task[Any], note: LogNote) -> None:
        if (attempt := self._running.get(task)) is not None:
            attempt.emit(note)


def _stack_of(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """Yield the module and the qualified name of each function that runs, the innermost first."""
    while frame is not None:
        yield str(frame.f_globals.get("__name__")), frame.f_code.co_qualname
        frame = frame.f_back


def _is_of_function(stack: list[tuple[str, str]], attempt: OnLoop) -> bool:
    function = attempt.assignment.processor.function
    own = function.__module__, function.__qualname__
    return any((module, name.partition(".<locals>")[0]) == own for module, name in stack)


def _is_of_module(stack: list[tuple[str, str]], attempt: OnLoop) -> bool:
    return any(module == attempt.assignment.processor.function.__module__ for module, _ in stack)
