"""Processors on the event loop that do what would end a program."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

from service import JobContext, processor

_held: list[asyncio.Future[bool]] = []
_left: list[asyncio.Task[None]] = []


async def _exit() -> None:
    sys.exit(4)


@processor("ruthless.exit", min_files=0)
async def leave(job: JobContext) -> None:  # noqa: ARG001 - every processor has it
    """End the program."""
    sys.exit(3)


@processor("ruthless.callback", min_files=0)
async def leave_later(job: JobContext) -> str:  # noqa: ARG001
    """End the program from a callback, from a task that is awaited by nobody, and by a keyboard that is not there."""
    loop = asyncio.get_running_loop()
    left = loop.create_task(_exit())
    loop.call_soon(sys.exit, 5)
    loop.call_soon(signal.default_int_handler, signal.SIGINT, None)
    await asyncio.wait([left])
    return "unharmed"


@processor("ruthless.stop", min_files=0)
async def stop(job: JobContext) -> str:  # noqa: ARG001
    """Stop the loop."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "unharmed"


@processor("ruthless.close", min_files=0)
async def close(job: JobContext) -> None:  # noqa: ARG001
    """Close the loop."""
    asyncio.get_running_loop().close()


@processor("ruthless.cancel", min_files=0)
async def cancel(job: JobContext) -> int:  # noqa: ARG001
    """Cancel every task that can be found, and say how many were not this one's."""
    own = asyncio.create_task(asyncio.sleep(60))
    found = asyncio.all_tasks() - {asyncio.current_task()}
    for task in found:
        task.cancel()
    await asyncio.wait([own])
    return len(found)


@processor("ruthless.fork", min_files=0)
async def fork(job: JobContext) -> int:  # noqa: ARG001
    """Fork, have an exception end the fork, and return the code with which it ended."""
    if (pid := os.fork()) == 0:
        raise ValueError("of the fork")
    return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1])


@processor("ruthless.fork_and_await", min_files=0)
async def fork_and_await(job: JobContext) -> list[int]:  # noqa: ARG001
    """Fork in this task and in others, have the forks await, and return the codes with which they ended."""
    pids: list[int] = []

    async def fork() -> None:
        if (pid := os.fork()) == 0:
            await asyncio.sleep(0)
        pids.append(pid)

    await fork()
    await asyncio.gather(fork(), fork())
    async with asyncio.TaskGroup() as group:
        group.create_task(fork())
    return [os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) for pid in pids]


@processor("ruthless.worker", min_files=0)
async def worker(job: JobContext, until: str) -> list[int]:  # noqa: ARG001
    """Have a worker work until a file is there; return how it ends then, and what others say."""
    context = multiprocessing.get_context("fork")
    one = context.Process(target=_work, args=(Path(until).with_suffix(".begun"),))
    one.start()
    while not Path(until).exists():  # noqa: ASYNC240
        await asyncio.sleep(0.01)
    one.terminate()
    await asyncio.to_thread(one.join)
    with context.Pool(2) as pool:
        return [one.exitcode or 0, *pool.map(abs, [-1, -2])]


def _work(begun: Path) -> None:
    begun.touch()
    time.sleep(600)


@processor("ruthless.factory", min_files=0)
async def take_tasks(job: JobContext) -> str:  # noqa: ARG001
    """Have other tasks made."""
    asyncio.get_running_loop().set_task_factory(None)
    return "taken"


@processor("ruthless.signals", min_files=0)
async def take_signals(job: JobContext) -> str:  # noqa: ARG001
    """Take the signals that stop a server."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, print)
    return "taken"


@processor("ruthless.threads", min_files=0)
async def hold_threads(job: JobContext) -> str:  # noqa: ARG001
    """Take every default thread of the loop, and a thread that is no daemon, for ever."""
    loop = asyncio.get_running_loop()
    _held.extend(loop.run_in_executor(None, threading.Event().wait) for _ in range(100))
    threading.Thread(target=threading.Event().wait, name="held").start()
    return "held"


async def _poll() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)


@processor("ruthless.leave_a_task", min_files=0)
async def leave_a_task(job: JobContext) -> str:  # noqa: ARG001
    """Leave a task behind that does not end when it is cancelled."""
    _left.append(asyncio.create_task(_poll()))
    return "left"


def _exit_again(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0.02, _exit_again, loop)
    sys.exit(1)


@processor("ruthless.exit_again", min_files=0)
async def exit_again(job: JobContext) -> str:  # noqa: ARG001
    """Leave a callback behind that wants to end the program, again and again."""
    loop = asyncio.get_running_loop()
    loop.call_later(0.02, _exit_again, loop)
    return "left"


@processor("ruthless.none", min_files=0)
async def be_kind(job: JobContext) -> str:  # noqa: ARG001
    """Do nothing of that."""
    return "well"


@processor("ruthless.go", min_files=0)
def wait_in_a_child(job: JobContext, told: str, go: str) -> str:  # noqa: ARG001
    """Say that it runs, wait for a file, and end."""
    Path(told).touch()
    while not Path(go).exists():
        time.sleep(0.01)
    Path(told).unlink()
    return "done"


@processor("ruthless.go_on_loop", min_files=0)
async def wait_on_the_loop(job: JobContext, told: str, go: str) -> str:  # noqa: ARG001
    """Say that it runs, wait for a file, and end."""
    await asyncio.to_thread(Path(told).touch)
    while not await asyncio.to_thread(Path(go).exists):
        await asyncio.sleep(0.01)
    return "done"
