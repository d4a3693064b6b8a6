"""The wait for the next piece of a body: it ends in time, and only it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.intake.stall import StallWatch


async def pieces(*waits: asyncio.Event | bytes) -> AsyncIterator[bytes]:
    """Yield the pieces; wait where an event stands."""
    for one in waits:
        if isinstance(one, asyncio.Event):
            await one.wait()
        else:
            yield one


async def test_a_wait_that_takes_too_long_is_ended():
    body = pieces(b"a", asyncio.Event())
    with StallWatch(0.01) as watch:
        assert await watch.next(body) == b"a"
        with pytest.raises(TimeoutError):
            await watch.next(body)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0  # the task lives on: it has an answer to give


async def test_a_server_that_was_paused_takes_what_came_meanwhile():
    came = asyncio.Event()
    with StallWatch(1) as watch:
        wait = asyncio.create_task(watch.next(pieces(came, b"a")))
        await asyncio.sleep(0)
        watch._since -= 3600
        watch._due -= 3600
        watch._look()  # the timer goes off an hour late, and before anybody has looked at the socket
        came.set()
        assert await wait == b"a"


async def test_time_that_is_spent_between_two_pieces_does_not_count():
    body = pieces(b"a", b"b")
    with StallWatch(0.01) as watch:
        assert await watch.next(body) == b"a"
        looked = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, looked.set)  # the watch has looked more than once by then
        await looked.wait()
        assert await watch.next(body) == b"b"
        with pytest.raises(StopAsyncIteration):
            await watch.next(body)


async def test_each_piece_has_the_whole_time():
    loop = asyncio.get_running_loop()
    events = [asyncio.Event() for _ in range(4)]
    body = pieces(*(one for event in events for one in (event, b"a")))
    for number, event in enumerate(events, start=1):
        loop.call_later(0.08 * number, event.set)
    with StallWatch(0.2) as watch:
        for _ in events:
            assert await watch.next(body) == b"a"


async def test_who_is_cancelled_from_outside_is_cancelled():
    waiting = asyncio.Event()

    async def read():
        with StallWatch(60) as watch:
            waiting.set()
            await watch.next(pieces(asyncio.Event()))

    task = asyncio.create_task(read())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_nothing_is_left_to_look_when_the_body_is_over():
    with StallWatch(0.01) as watch:
        assert await watch.next(pieces(b"a")) == b"a"
    assert watch._timer is not None
    assert watch._timer.cancelled()


async def test_a_stream_that_answers_its_cancellation_with_an_error_of_its_own_leaves_nothing_behind():
    async def stubborn() -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionResetError from None
        yield b""

    with StallWatch(0.01) as watch, pytest.raises(ConnectionResetError):
        await watch.next(stubborn())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
