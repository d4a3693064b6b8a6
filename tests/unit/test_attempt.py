"""One attempt that is told to stop, and whether it does."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.steady_loop import run_to_end
from service.worker.attempt import Attempt
from service.worker.runner import Broke, Returned

STOP_LIMIT_S = 0.05


class Processor:
    """Swallows what is raised into it, so many times; says when it has begun and when it has ended."""

    def __init__(self, swallowed: Any = asyncio.CancelledError, times: int = 1000) -> None:
        self.begun = asyncio.Event()
        self.has_ended = False
        self._swallowed = swallowed
        self._times = times

    async def run(self) -> Returned:
        try:
            self.begun.set()
            for _ in range(self._times):
                with suppress(self._swallowed):
                    await asyncio.Event().wait()
            return Returned("in time")
        finally:
            self.has_ended = True


async def stopped(processor):
    attempt = Attempt(processor.run(), STOP_LIMIT_S, processor="t.stubborn", job_id="job-1")
    await processor.begun.wait()
    attempt.stop()
    async with asyncio.timeout(60):
        await attempt.ended()
    return attempt


async def test_one_that_ends_is_not_given_up():
    with capture_logs() as lines:
        attempt = await stopped(Processor(times=1))
        assert (attempt.verdict(), attempt.is_given_up, attempt.was_stopped) == (Returned("in time"), False, False)
        attempt = await stopped(Processor(swallowed=KeyError))
        assert (attempt.is_given_up, attempt.was_stopped) == (False, True)
    assert lines == []


async def test_one_that_swallows_its_cancellation_is_ended_by_force_and_named():
    processor = Processor()
    with capture_logs() as lines:
        attempt = await stopped(processor)
    assert attempt.is_given_up
    assert processor.has_ended
    (line,) = lines
    assert (line["processor"], line["job_id"], line["log_level"]) == ("t.stubborn", "job-1", "error")


async def test_one_that_runs_longer_than_its_limit_and_the_patience_is_given_up():
    processor = Processor()
    attempt = Attempt(processor.run(), STOP_LIMIT_S, processor="t.stubborn", job_id="job-1")
    attempt.expect_end_within(0.05)
    async with asyncio.timeout(60):
        await attempt.ended()
    assert attempt.is_given_up
    assert processor.has_ended


def run_steadily(work):
    with asyncio.Runner() as runner:
        run_to_end(runner.get_loop(), work)


@pytest.mark.parametrize("run", [asyncio.run, run_steadily])
def test_not_even_one_that_swallows_all_keeps_the_loop_from_ending(run):
    kept = []

    async def main():
        processor = Processor(swallowed=BaseException, times=4)  # one for the end of the test
        kept.append((await stopped(processor), processor))

    run(asyncio.wait_for(main(), 60))
    ((attempt, processor),) = kept
    assert attempt.is_given_up
    assert not processor.has_ended


async def test_a_wait_that_is_cancelled_can_be_taken_up_again():
    processor = Processor(times=1)
    attempt = Attempt(processor.run(), STOP_LIMIT_S)
    wait = asyncio.create_task(attempt.ended())
    await processor.begun.wait()
    await asyncio.sleep(0)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    attempt.stop()
    await attempt.ended()
    assert attempt.verdict() == Returned("in time")


@pytest.mark.parametrize("cancelled_by", ["itself", "another"])
async def test_one_that_nobody_told_to_stop_has_failed_when_code_on_the_loop_cancels_it(cancelled_by):
    tasks: list[Any] = []

    async def run():
        tasks.append(asyncio.current_task())
        if cancelled_by == "itself":
            tasks[0].cancel()
        await asyncio.Event().wait()

    attempt = Attempt(run(), STOP_LIMIT_S)
    if cancelled_by == "another":
        await asyncio.sleep(0)
        tasks[0].cancel()
    async with asyncio.timeout(20):
        await attempt.ended()
    assert not attempt.was_stopped
    assert attempt.verdict() == Broke("failed", "the attempt was cancelled by code on the event loop")


@pytest.mark.parametrize("farewell", [SystemExit, KeyboardInterrupt, ValueError])
async def test_one_that_is_ended_by_force_may_raise_what_it_likes(farewell):
    begun = asyncio.Event()

    async def run():
        begun.set()
        while True:
            try:
                await asyncio.Event().wait()
            except GeneratorExit:
                raise farewell from None
            except asyncio.CancelledError:
                continue

    attempt = Attempt(run(), STOP_LIMIT_S)
    await begun.wait()
    attempt.stop()
    async with asyncio.timeout(20):
        await attempt.ended()
    assert attempt.is_given_up
