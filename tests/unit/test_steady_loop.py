"""A loop that goes on whatever runs on it."""

import asyncio
import gc
import sys
from contextlib import suppress

import pytest
import uvloop
from structlog.testing import capture_logs

from service.steady_loop import end_what_is_left, run_to_end, runs_user_code, take_back_tasks

TOLD = "code on the event loop would have ended the server, which goes on"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request):
    loop = request.param()
    loop.set_exception_handler(lambda *_: None)
    yield loop
    loop.close()


async def leave(code=3):
    sys.exit(code)


async def stop():
    asyncio.get_running_loop().stop()


async def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("act", [leave, stop, interrupt])
def test_what_a_task_raises_stays_in_that_task(loop, act):
    async def main():
        task = asyncio.create_task(act())
        await asyncio.wait([task])
        await asyncio.sleep(0)
        return type(task.exception())

    with capture_logs() as lines:
        assert run_to_end(loop, main()) is {leave: SystemExit, interrupt: KeyboardInterrupt}.get(act, type(None))
    assert [line["event"] for line in lines] == [TOLD]


def test_nothing_that_was_ready_to_run_is_lost(loop):
    async def main():
        ran: list[int] = []
        for number in range(100):
            loop.call_soon(ran.append, number)
            loop.call_soon(sys.exit)
        loop.call_later(0.001, sys.exit)
        woken = asyncio.Event()
        loop.call_later(0.002, woken.set)
        await woken.wait()
        return ran

    with capture_logs():
        assert run_to_end(loop, main()) == list(range(100))


def test_a_generator_that_exits_when_it_is_cleared_away_ends_nothing(loop):
    async def numbers():
        try:
            yield 1
        finally:
            sys.exit(3)

    async def main():
        async for _ in numbers():
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        return "well"

    with capture_logs():
        assert run_to_end(loop, main()) == "well"


@pytest.mark.parametrize("kind", [SystemExit, RuntimeError, KeyError])
def test_what_the_work_itself_raises_is_raised(loop, kind):
    async def main():
        raise kind

    with capture_logs() as lines, pytest.raises(kind):
        run_to_end(loop, main())
    assert lines == []


def test_user_code_finds_its_own_tasks_and_none_of_the_server(loop):
    async def forever():
        await asyncio.Event().wait()

    async def attempt():
        runs_user_code.set(True)
        own = asyncio.create_task(forever())
        found = asyncio.all_tasks()
        own.cancel()
        return {one.get_name() for one in found} == {"main", own.get_name()}

    async def main():
        kept = asyncio.create_task(forever())
        found = await asyncio.create_task(attempt())
        return kept, found

    kept, found = run_to_end(loop, main())
    assert found
    assert kept in asyncio.all_tasks(loop)  # whoever closes the loop can end it
    kept.cancel()
    loop.run_until_complete(asyncio.wait([kept]))


def test_a_task_factory_that_user_code_sets_is_taken_back(loop):
    async def main():
        loop.set_task_factory(lambda *_, **__: 1 / 0)
        found = [take_back_tasks(loop), take_back_tasks(loop)]
        return found, await asyncio.create_task(asyncio.sleep(0, "well"))

    assert run_to_end(loop, main()) == ([True, False], "well")


def test_tasks_and_generators_that_do_not_end_are_named_and_left_behind(loop):
    async def poll():
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.Event().wait()

    async def main():
        kept = asyncio.create_task(poll(), name="left"), asyncio.create_task(asyncio.Event().wait()), numbers()
        await anext(kept[2])
        return kept

    stubborn, willing, _numbers = run_to_end(loop, main())
    with capture_logs() as lines:
        end_what_is_left(loop, 0.05)
    assert willing.cancelled()
    assert not stubborn.done()
    assert asyncio.all_tasks(loop) == set()
    (named,) = [line["tasks"] for line in lines]
    assert "left" in {one.partition(":")[0] for one in named}
    assert len(named) == 2  # the other closes the generator
    stubborn._log_destroy_pending = False


def test_a_loop_in_which_nothing_is_left_ends_without_a_word(loop):
    run_to_end(loop, asyncio.sleep(0))
    with capture_logs() as lines:
        end_what_is_left(loop)
    assert lines == []
