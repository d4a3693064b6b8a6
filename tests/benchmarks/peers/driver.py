"""What is done with every queue, in the same way: submit, drain, submit while draining, and latencies."""

import asyncio
import inspect
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.peers.tally import Tally, rate

SUBMITTERS = 16
_THREADS = (1, 4)
_LIMIT_S = 240.0
_START_LIMIT_S = 60.0
_PAUSE_S = 0.02


async def _nothing() -> None:
    """Nothing to open or close."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One queue. `submit` takes the number of a no-op job and may be a coroutine function.

    `workers(n)` are the commands of its worker, to use n processors; `work` is the body of those that have no
    command of their own.
    """

    submit: Callable[[int], Any]
    workers: Callable[[int], Sequence[Sequence[str]]]
    work: Callable[[], None] | None = None
    open: Callable[[], Awaitable[Any]] = _nothing
    close: Callable[[], Awaitable[Any]] = _nothing


def own_worker(name: str) -> list[str]:
    """Return the command that runs `work` of the peer with this name."""
    return [sys.executable, "-m", "tests.benchmarks.peers", name, "work"]


@contextmanager
def _running(commands: Sequence[Sequence[str]]) -> Any:
    """Run workers while the block runs. They stay in our process group, so that none outlives the piece."""
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Driver:
    """Drives one peer. Every phase has numbers of its own in the tally."""

    def __init__(self, peer: Peer, tally: Tally) -> None:
        self._peer = peer
        self._tally = tally
        self._next = 0

    # ---- the works

    async def queue(self, count: int) -> dict[str, float]:
        """Return jobs per second: submitted, drained, and submitted while draining.

        A peer may use one process or as many as there are cores; of each figure, the better one counts.
        """
        runs = [await self._queue(count, processes) for processes in sorted({1, len(os.sched_getaffinity(0))})]
        return {name: max(run[name] for run in runs) for name in runs[0]}

    async def latency(self, count: int, seconds: float) -> dict[str, float]:
        """Return milliseconds from submission to start: when idle, and at half of the load that it can carry."""
        with self._workers(1):
            await self._warm_up()
            idle = await self._one_by_one(count)
            busy_per_s = await self._while_draining(max(count, 100))
            half = await self._paced(busy_per_s / 2, seconds)
        return {
            "idle": statistics.median(started - called for called, _, started in idle) / 1e6,
            "after": statistics.median(started - accepted for _, accepted, started in idle) / 1e6,
            "half": statistics.median(started - called for called, _, started in half) / 1e6,
        }

    async def _queue(self, count: int, processes: int) -> dict[str, float]:
        first, submitted = await self._submit_all(count)
        with self._workers(processes):
            drained = rate(await self._done(first, count))
            both = await self._while_draining(count)
        return {"submitted": submitted, "drained": drained, "both": both}

    # ---- the phases

    async def _warm_up(self) -> None:
        first = self._take(1)
        await self._submit(first)
        await asyncio.to_thread(self._tally.wait, first, 1, _START_LIMIT_S)

    async def _submit_all(self, count: int) -> tuple[int, float]:
        """Submit so many; return the number of the first, and how many went in per second.

        A coroutine is called 16 at a time. A plain function is called by one thread for half of them and by four
        for the rest, and the better rate counts.
        """
        first = self._take(count)
        if inspect.iscoroutinefunction(self._peer.submit):
            return first, await self._timed(first, count, SUBMITTERS)
        half = count // 2
        rates = [await self._timed(first, half, _THREADS[0])]
        rates.append(await self._timed(first + half, count - half, _THREADS[1]))
        return first, max(rates)

    async def _timed(self, first: int, count: int, submitters: int) -> float:
        numbers = iter(range(first, first + count))
        began = time.perf_counter()
        if inspect.iscoroutinefunction(self._peer.submit):
            await asyncio.gather(*(self._submit_each(numbers) for _ in range(submitters)))
        else:
            lots = [range(first + number, first + count, submitters) for number in range(submitters)]
            await asyncio.gather(*(asyncio.to_thread(self._submit_lot, lot) for lot in lots))
        return count / (time.perf_counter() - began)

    async def _while_draining(self, count: int) -> float:
        """Return how many per second were submitted and run, with both going on at the same time."""
        first = self._take(count)
        began_ns = time.monotonic_ns()
        await self._timed(first, count, SUBMITTERS if inspect.iscoroutinefunction(self._peer.submit) else _THREADS[0])
        marks = await self._done(first, count)
        return count / ((max(marks) - began_ns) / 1e9)

    async def _one_by_one(self, count: int) -> list[tuple[int, int, int]]:
        """Submit one, wait until it runs, pause: for each, when it was called, accepted and started."""
        found = []
        for _ in range(count):
            number, called = self._take(1), time.monotonic_ns()
            await self._submit(number)
            accepted = time.monotonic_ns()
            started = (await self._done(number, 1))[0]
            found.append((called, accepted, started))
            await asyncio.sleep(_PAUSE_S)
        return found

    async def _paced(self, per_s: float, seconds: float) -> list[tuple[int, int, int]]:
        """Submit at a steady pace, whatever the answers do."""
        count = max(int(per_s * seconds), 1)
        first, began = self._take(count), time.perf_counter()
        tasks = []
        for number in range(count):
            await asyncio.sleep(max(began + number / per_s - time.perf_counter(), 0))
            tasks.append(asyncio.create_task(self._clocked(first + number)))
        calls = await asyncio.gather(*tasks)
        marks = await self._done(first, count)
        return [(called, accepted, started) for (called, accepted), started in zip(calls, marks, strict=True)]

    async def _clocked(self, number: int) -> tuple[int, int]:
        called = time.monotonic_ns()
        await self._submit(number)
        return called, time.monotonic_ns()

    # ---- the parts

    def _take(self, count: int) -> int:
        first, self._next = self._next, self._next + count
        return first

    def _workers(self, processes: int) -> AbstractContextManager[None]:
        return _running(self._peer.workers(processes))

    async def _submit(self, number: int) -> None:
        answer = self._peer.submit(number)
        if inspect.isawaitable(answer):
            await answer

    async def _submit_each(self, numbers: Any) -> None:
        for number in numbers:
            await self._peer.submit(number)

    def _submit_lot(self, numbers: range) -> None:
        for number in numbers:
            self._peer.submit(number)

    async def _done(self, first: int, count: int) -> list[int]:
        """Wait beside the loop: some peers submit by tasks that must go on."""
        return await asyncio.to_thread(self._tally.wait, first, count, _LIMIT_S)
