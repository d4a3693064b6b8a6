"""Threads of the service, and those of the code of others."""

import asyncio
import threading

from service.own_threads import in_own_thread, open_threads


async def test_code_that_fills_the_default_threads_leaves_the_service_its_own_and_holds_up_no_end():
    go = threading.Event()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(60):
        with open_threads():
            held = [loop.run_in_executor(None, go.wait) for _ in range(100)]
            assert (await in_own_thread(threading.current_thread)).name.startswith("disk")
        await loop.shutdown_default_executor()
    assert not go.is_set()
    go.set()
    await asyncio.wait(held)
    assert any(one.cancelled() for one in held)  # those that had not begun


async def test_what_the_service_does_in_its_threads_is_done_before_it_has_ended():
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        go.wait(20)
        done.set()

    with open_threads():
        worked = in_own_thread(work)
        begun.wait(20)
        go.set()
    assert done.is_set()
    await worked


async def test_without_a_service_a_default_thread_is_taken():
    assert await in_own_thread(int, "7") == 7


async def test_the_end_of_one_service_takes_no_threads_from_another_on_its_loop():
    with open_threads():
        with open_threads():
            pass
        assert (await in_own_thread(threading.current_thread)).name.startswith("disk")
        assert await asyncio.to_thread(int, "7") == 7
    assert await asyncio.to_thread(int, "7") == 7
