"""Forks of the server's process: what becomes of them, and what they must not hold."""

import asyncio
import itertools
import os
import sys
from typing import Any

import pytest
import uvloop

from service.app import _bound
from service.forks import EndsForks
from service.own_threads import open_threads
from service.ownership import owned
from service.processors.base import JobContext, processor
from service.steady_loop import run_to_end, runs_user_code
from service.worker.runner import Assignment, LoopRunner, Returned


def code_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@processor("t.forking", min_files=0)
async def forking(_job: JobContext, how: str) -> int:
    """Fork, and return how the fork ended."""
    if (pid := os.fork()) == 0:
        match how:
            case "exit":
                sys.exit(4)
            case "raise":
                raise ValueError("of the fork")
            case _:
                return -1
    return await asyncio.to_thread(code_of, pid)


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 4), ("raise", 1)])
async def test_a_fork_of_the_server_ends_with_the_processor(tmp_path, capfd, how, code):
    one = Assignment("job-1", 1, 1, forking, {"how": how}, {}, (), tmp_path, 60.0)
    assert await LoopRunner().run(one, lambda _: None) == Returned(code)
    assert ("ValueError: of the fork" in capfd.readouterr().err) == (how == "raise")


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_fork_that_comes_back_to_the_loop_ends(make):
    async def main():
        forked = loop.create_future()
        loop.call_soon(lambda: forked.set_result(os.fork()))
        return await asyncio.to_thread(code_of, await forked)

    loop = make()
    assert run_to_end(loop, main()) == 1
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def forked_here():
    if (pid := os.fork()) == 0:
        await asyncio.sleep(0)
    return pid


async def forked_by_gather():
    return (await asyncio.gather(forked_here()))[0]


async def forked_in_a_group():
    async with asyncio.TaskGroup() as group:
        task = group.create_task(forked_here())
    return task.result()


async def forked_while_cancelled():
    try:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    except TimeoutError:
        return await forked_here()


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("fork", [forked_here, forked_by_gather, forked_in_a_group, forked_while_cancelled])
def test_a_fork_that_awaits_runs_nothing_that_is_ready_a_second_time(make, fork, tmp_path, capfd):
    ran = os.open(tmp_path / "ran", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    handlers = itertools.count()

    def run(number):
        os.write(ran, f"{number}\n".encode())

    async def main():
        runs_user_code.set(True)
        done = loop.create_task(fork())
        while not done.done():
            for _ in range(100):
                loop.call_soon(run, next(handlers))
            await asyncio.sleep(0)
        return await asyncio.to_thread(code_of, done.result())

    loop = make()
    assert run_to_end(loop, main()) == 1
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    os.close(ran)
    assert (tmp_path / "ran").read_text().split() == [str(number) for number in range(next(handlers))]
    assert capfd.readouterr().err.count("came back to the loop") == 1


def test_a_fork_that_closed_standard_error_gets_nothing_into_its_own_file(tmp_path):
    async def main():
        runs_user_code.set(True)
        return await asyncio.create_task(closing())

    async def closing():
        if (pid := os.fork()) == 0:
            os.closerange(0, 256)
            for _ in range(3):
                os.open(tmp_path / "own", os.O_CREAT | os.O_WRONLY)
            await asyncio.sleep(0)
        return await asyncio.to_thread(code_of, pid)

    loop = asyncio.new_event_loop()
    assert run_to_end(loop, main()) == 1
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert (tmp_path / "own").read_bytes() == b""


async def test_a_coroutine_that_ends_forks_is_one_and_looks_like_the_one_inside():
    work: Any = forked_here()
    one: Any = EndsForks(work)
    assert asyncio.iscoroutine(one) is True
    assert (one.__qualname__, one.cr_code, one.cr_running) == (work.__qualname__, work.cr_code, False)
    one.close()
    assert one.cr_frame is None
    with pytest.raises(ValueError, match="thrown"):
        EndsForks(asyncio.sleep(0)).throw(ValueError("thrown"))
    assert await EndsForks(asyncio.sleep(0, "well")) == "well"


async def test_a_fork_of_a_thread_ends_with_the_call():
    with open_threads():
        pid = await asyncio.to_thread(os.fork)
        assert await asyncio.to_thread(code_of, pid) == 0


async def test_a_thread_that_raises_stop_iteration_is_not_waited_for_for_ever():
    async with asyncio.timeout(60):
        with open_threads(), pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.to_thread(next, iter(()))


def test_a_fork_that_outlives_the_server_keeps_neither_the_folder_nor_the_port(tmp_path):
    (begun, begins), (told, tells) = os.pipe(), os.pipe()
    loop = uvloop.new_event_loop()
    with owned(tmp_path), _bound("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = loop.run_until_complete(loop.create_server(asyncio.Protocol, sock=listener))
        if (pid := os.fork()) == 0:
            os.close(tells)
            os.write(begins, b".")
            os.read(told, 1)
            os._exit(0)
        os.read(begun, 1)
        server.close()
        loop.run_until_complete(server.wait_closed())
        loop.close()
    with owned(tmp_path), _bound("127.0.0.1", port) as listener:
        listener.listen()
        os.close(tells)
    assert code_of(pid) == 0
