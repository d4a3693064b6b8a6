"""Limits that count only the time in which the loop ran."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from service.worker import time_limit
from service.worker.time_limit import RunningTimer, TimeLimit


class Loop:
    """A loop whose time the test moves: `run` lets it run on time, `pause` lets time pass without it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self._now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> "Loop":
        self._due = [(self._now + delay_s, call)]
        return self

    def cancel(self) -> None:
        self._due = []

    def run(self, seconds: float, late_s: float = 0) -> None:
        end = self._now + seconds
        while self._due and self._due[0][0] + late_s <= end:
            at, call = self._due.pop()
            self._now = max(self._now, at + late_s)
            call()
        self._now = max(end, self._now)

    def pause(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(time_limit, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    return loop


@pytest.fixture
def over() -> list[float]:
    return []


@pytest.fixture
def start(loop, over):
    return lambda limit_s: RunningTimer(limit_s, lambda: over.append(loop.time()))


@pytest.mark.parametrize("limit_s", [0.1, 1, 2.5, 600])
def test_a_loop_that_runs_has_all_its_time_counted(loop, over, start, limit_s):
    start(limit_s)
    loop.run(2 * limit_s)
    assert over == [pytest.approx(limit_s)]


def test_a_pause_counts_as_one_tick_more_and_nothing_ends_the_moment_it_is_over(loop, over, start):
    start(600)
    loop.run(599.5)
    loop.pause(10_000)
    loop.run(0)
    assert over == []
    loop.run(1)
    assert len(over) == 1


@pytest.mark.parametrize("pauses", [1, 5, 50])
def test_however_often_it_was_paused_most_of_the_limit_is_left(loop, over, start, pauses):
    start(600)
    for _ in range(pauses):
        loop.pause(1000)
        loop.run(0.5)
    loop.run(600 - 3 * pauses)
    assert over == []
    loop.run(3 * pauses)
    assert len(over) == 1


def test_a_loop_that_is_always_late_ends_it_too(loop, over, start):
    start(60)
    loop.run(10_000, late_s=20)
    assert len(over) == 1


def test_one_that_is_cancelled_calls_nothing(loop, over, start):
    start(1).cancel()
    loop.run(10)
    assert over == []


async def test_the_block_is_ended_as_a_timeout_ends_it():
    limit = TimeLimit(0.01)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.Event().wait()
    assert limit.expired()


async def test_a_block_that_ends_before_is_left_alone():
    async with TimeLimit(3600) as limit:
        await asyncio.sleep(0)
    assert not limit.expired()
