"""Forks of the server's process: what becomes of them, and what they must not hold."""

import asyncio
import os
import sys

import pytest
import uvloop

from service.app import _bound
from service.own_threads import open_threads
from service.ownership import owned
from service.processors.base import JobContext, processor
from service.steady_loop import run_to_end
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
        if (pid := os.fork()) == 0:
            await asyncio.sleep(60)
        return await asyncio.to_thread(code_of, pid)

    loop = make()
    assert run_to_end(loop, main()) == 1
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


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
