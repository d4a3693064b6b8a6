"""Tasks that are begun anew whenever they end."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service import lasting
from service.lasting import LastingTask


class Work:
    """Does what it is told in each round, and in the last waits for ever."""

    def __init__(self, *rounds: str) -> None:
        self._rounds = list(rounds)
        self.waits = asyncio.Event()

    async def __call__(self) -> None:
        match self._rounds.pop(0) if self._rounds else "wait":
            case "fail":
                raise RuntimeError("boom")
            case "exit":
                raise asyncio.CancelledError
            case "wait":
                self.waits.set()
                await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(lasting, "PAUSE_S", 0)


async def test_whatever_ends_it_it_is_begun_anew_and_that_is_told():
    work, over = Work("fail", "exit", "return"), asyncio.Event()
    with capture_logs() as lines:
        task = LastingTask(work, "duty", over.is_set)
        async with asyncio.timeout(20):
            await work.waits.wait()
        over.set()
        task.stop()
        await task.ended()
    told = [(line["task"], line["reason"], line["log_level"]) for line in lines]
    assert told == [("duty", f"it {how}", "error") for how in ("failed", "was cancelled", "returned")]
    assert not task.is_running
    assert not task.is_lost


async def test_one_that_may_end_is_not_begun_anew():
    work = Work("return")
    with capture_logs() as lines:
        task = LastingTask(work, "duty", lambda: True)
        await task.ended()
    assert lines == []
    assert not work.waits.is_set()


async def test_one_that_is_stopped_while_it_waits_for_its_turn_has_ended(monkeypatch):
    monkeypatch.setattr(lasting, "PAUSE_S", 3600)
    over = asyncio.Event()
    task = LastingTask(Work("fail"), "duty", over.is_set)
    await asyncio.wait([task.task])
    await asyncio.sleep(0)
    assert not task.is_running
    assert not task.is_lost
    over.set()
    task.stop()
    async with asyncio.timeout(20):
        await task.ended()


async def test_one_that_cannot_be_begun_anew_is_lost_until_it_can(monkeypatch):
    monkeypatch.setattr(lasting, "RETRY_S", 0)
    task = LastingTask(work := Work("fail"), "duty", lambda: False)
    monkeypatch.setattr(task, "_work", lambda: None)  # what is no coroutine makes no task
    with capture_logs() as lines:
        async with asyncio.timeout(20):
            await task.ended()
            assert task.is_lost
            monkeypatch.setattr(task, "_work", work)
            await work.waits.wait()
    assert task.is_running
    assert "cannot be begun anew" in lines[-1]["event"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_nobody_waits_at_the_end_for_one_that_is_lost(monkeypatch, when):
    is_over = asyncio.Event()
    task = LastingTask(Work("fail"), "duty", is_over.is_set)
    waits = asyncio.create_task(task.ended())
    monkeypatch.setattr(task, "_work", lambda: None)
    async with asyncio.timeout(20):
        if when == "before":
            await task.ended()
        await waits
        assert task.is_lost
        is_over.set()
        task.stop()
        await task.ended()


async def test_one_that_is_not_begun_anew_has_ended_when_it_is_stopped(monkeypatch):
    monkeypatch.setattr(LastingTask, "_begin_soon", lambda _task: None)
    is_over = asyncio.Event()
    task = LastingTask(Work("fail"), "duty", is_over.is_set)
    await asyncio.wait([task.task])
    await asyncio.sleep(0)
    assert task.is_lost
    is_over.set()
    task.stop()
    async with asyncio.timeout(20):
        await task.ended()
