"""The one loop for duties that come round."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service.worker.periodic import every


class Duty:
    """Counts its rounds, and fails in those it was told to."""

    def __init__(self, *bad_rounds: int) -> None:
        self.rounds = 0
        self._bad = bad_rounds
        self._reached: dict[int, asyncio.Event] = {}

    async def __call__(self) -> None:
        self.rounds += 1
        self._event(self.rounds).set()
        if self.rounds in self._bad:
            raise RuntimeError("a bad round")

    async def reached(self, rounds: int) -> None:
        async with asyncio.timeout(60):
            await self._event(rounds).wait()

    def _event(self, rounds: int) -> asyncio.Event:
        return self._reached.setdefault(rounds, asyncio.Event())


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_duty_is_done_at_once_and_then_waits_its_time():
    duty = Duty()
    task = asyncio.create_task(every(3600, duty))
    await duty.reached(1)
    await cancelled(task)
    assert duty.rounds == 1


async def test_a_duty_comes_round_again():
    duty = Duty()
    task = asyncio.create_task(every(0, duty))
    await duty.reached(5)
    await cancelled(task)


async def test_a_duty_outlives_its_failures_and_each_is_logged():
    duty = Duty(1, 2)
    with capture_logs() as lines:
        task = asyncio.create_task(every(0, duty))
        await duty.reached(4)
        await cancelled(task)
    assert [line["event"] for line in lines] == ["periodic duty failed"] * 2
    assert {line["log_level"] for line in lines} == {"error"}


async def test_cancelling_the_loop_cancels_a_duty_that_is_under_way():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def duty() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(every(0, duty))
    await begun.wait()
    await cancelled(task)
    assert ended.is_set()
