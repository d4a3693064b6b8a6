"""How long an attempt may take, in time in which this server ran.

A server that was paused (SIGSTOP, a frozen container) or held up comes back when limits are long past on the clock of
the machine, and has not yet read what came meanwhile. So time is counted in ticks: each adds at most twice its own
length, and one that comes late ends nothing, but gives what has arrived a moment to be taken.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

TICK_S = 1.0
_TICKS_AT_LEAST = 4
_NOTHING_S = 1e-6  # what rounding leaves
_MOST_LATE = 10  # at the end: on a machine that is always late a limit holds too


class RunningTimer:
    """Calls `when_over` once `limit_s` seconds have passed in which the loop ran, unless it is cancelled before."""

    def __init__(self, limit_s: float, when_over: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._left_s = limit_s
        self._longest_s = min(TICK_S, limit_s / _TICKS_AT_LEAST)
        self._when_over = when_over
        self._late = 0
        self._wait(min(self._longest_s, limit_s))

    def cancel(self) -> None:
        """Call nothing any more."""
        self._timer.cancel()

    def _wait(self, tick_s: float) -> None:
        self._tick_s, self._since = tick_s, self._loop.time()
        self._timer = self._loop.call_later(tick_s, self._tick)

    def _tick(self) -> None:
        took_s = self._loop.time() - self._since
        is_late = took_s > 2 * self._longest_s
        self._left_s -= min(took_s, 2 * self._tick_s)
        if self._left_s > _NOTHING_S:
            self._wait(min(self._longest_s, self._left_s))
        elif is_late and self._late < _MOST_LATE:
            self._late += 1
            self._wait(self._longest_s)
        else:
            self._when_over()


class TimeLimit:
    """`asyncio.timeout`, but of time in which the loop ran. Use as `async with`."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._timer = RunningTimer(self._limit_s, self._end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def expired(self) -> bool:
        """Whether the limit has ended the block."""
        return self._timeout.expired()

    def _end(self) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time())
