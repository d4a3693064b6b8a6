"""The threads of the service itself, apart from the default ones of the event loop.

`asyncio.to_thread` and `run_in_executor(None, ...)` take the default ones, and so does the code of processors. It may
fill them all with calls that never return: then uploads, views and the checks of health still have threads.
"""

import asyncio
import concurrent.futures
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import structlog

from service.forks import ForksEndHere

T = TypeVar("T")

_COUNT = 32  # so many that uploads do not queue up for their fsyncs
_LEAVE_LIMIT_S = 2.0


class ForeignThreads(ThreadPoolExecutor):
    """Threads for the code of others: nobody waits for what runs in them, and what waits there is dropped."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Call the function in a thread. A process that it forks has this thread alone, and ends with the call."""
        return super().submit(_call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Begin nothing any more; also when the loop, which closes its default threads, asks to wait."""
        super().shutdown(wait=False, cancel_futures=True)


class _Pools:
    """The threads of one loop: those of the services that are open on it, and those for user code."""

    def __init__(self) -> None:
        self.own = ThreadPoolExecutor(_COUNT, thread_name_prefix="disk")
        self.foreign = _foreign_threads()
        self.services = 0


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools] = WeakKeyDictionary()


@contextmanager
def open_threads() -> Iterator[None]:
    """Give the running loop threads of the service, which are waited for at the end, and others for user code.

    Several services on one loop share them, and the last one closes them.
    """
    loop = asyncio.get_running_loop()
    if (pools := _of_loops.get(loop)) is None:
        pools = _of_loops[loop] = _Pools()
        loop.set_default_executor(pools.foreign)
    pools.services += 1
    try:
        yield
    finally:
        pools.services -= 1
        if not pools.services:
            del _of_loops[loop]
            pools.foreign.shutdown()
            loop.set_default_executor(_foreign_threads())  # whatever runs on this loop afterwards needs some, too
            pools.own.shutdown()


def _call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    try:
        with ForksEndHere():
            return function(*args, **kwargs)
    except StopIteration as error:  # a future of asyncio cannot hold it, and whoever awaits it would wait for ever
        raise RuntimeError("the function raised StopIteration") from error


def _foreign_threads() -> ForeignThreads:
    return ForeignThreads(_COUNT, thread_name_prefix="processors")


def in_own_thread(function: Callable[..., T], *args: object) -> asyncio.Future[T]:
    """Call the function in a thread of the service; where no service is open, in a default one of the loop."""
    loop = asyncio.get_running_loop()
    pools = _of_loops.get(loop)
    return loop.run_in_executor(None if pools is None else pools.own, function, *args)


def leave_in_time(limit_s: float = _LEAVE_LIMIT_S) -> None:
    """See to it that the process ends soon after its main thread, though code of others holds up another one.

    The interpreter waits at its exit for every thread that is no daemon, without a limit.
    """
    ends = threading.Event()
    threading.Thread(target=_leave, args=(ends, limit_s), name="leave", daemon=True).start()
    # what is registered last is called first: before `concurrent.futures` waits for its threads
    threading._register_atexit(ends.set)  # type: ignore[attr-defined] # noqa: SLF001 - as `concurrent.futures` does


def _leave(ends: threading.Event, limit_s: float) -> None:
    ends.wait()
    time.sleep(limit_s)
    names = [one.name for one in threading.enumerate() if not (one.daemon or one is threading.main_thread())]
    structlog.get_logger().error("threads of processors do not end, and are left behind", threads=names)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
