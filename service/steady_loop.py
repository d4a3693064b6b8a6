"""The event loop of the server, which goes on whatever the code of processors does that runs on it.

asyncio and uvloop let SystemExit and KeyboardInterrupt pass from any callback or task out of the loop itself, so
that `sys.exit` ends a program. Where the code of others runs, that must not be the end of the server: see `run_to_end`.

`asyncio.all_tasks` would hand that code the tasks of the server, to be cancelled: see `hide_own_tasks`.
"""

import asyncio
import contextlib
import os
import select
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from service.forks import EndsForks, end_on_the_loop, hold_stderr, in_each_fork

T = TypeVar("T")

_END_LIMIT_S = 2.0

runs_user_code: ContextVar[bool] = ContextVar("runs_user_code", default=False)  # in a task, and all that it starts
_forgotten: WeakSet[asyncio.Task[Any]] = WeakSet()
_factories: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()


def run_to_end(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on the loop to its end, and take the loop up again whenever something else makes it stop.

    Nothing is lost by that: the loop keeps what was ready to run.
    """
    import structlog  # noqa: PLC0415 - a child imports this module, and it need not pay for that one

    log = structlog.get_logger()
    main = loop.create_task(work, name="main")
    hidden = hide_own_tasks(loop)
    hold_stderr()
    with in_each_fork(lambda: _part_from(loop)):
        while not main.done() and not loop.is_closed():
            try:
                loop.run_until_complete(main)
            except BaseException:  # a RuntimeError is that of `loop.stop()`
                if not main.done():
                    log.exception("code on the event loop would have ended the server, which goes on")
    for task in hidden - _forgotten:
        asyncio._register_task(task)  # noqa: SLF001 - documented; whoever closes the loop is to end what is left
    return main.result()


def _part_from(loop: asyncio.AbstractEventLoop) -> None:
    """See to it that a fork of a callback, which comes back to the loop, takes no events of the server, and ends.

    The forks of coroutines do not come so far: see `EndsForks`.
    """
    loop.call_soon(end_on_the_loop)
    with contextlib.suppress(AttributeError):  # another loop, or another system, has none
        poll: Any = getattr(loop, "_get_backend_id", None) or loop._selector.fileno  # type: ignore[attr-defined]  # noqa: SLF001
        with select.epoll() as lone:
            os.dup2(lone.fileno(), poll(), inheritable=False)


def end_what_is_left(loop: asyncio.AbstractEventLoop, limit_s: float = _END_LIMIT_S) -> None:
    """Cancel all tasks that are left and close the asynchronous generators; what does not end is named and forgotten.

    Whoever closes the loop would wait for them without a limit.
    """
    import structlog  # noqa: PLC0415

    if loop.is_closed():
        return
    for task in (left := asyncio.all_tasks(loop)):
        task.cancel()
    if left:
        run_to_end(loop, asyncio.wait(left, timeout=limit_s))
    closing = loop.create_task(loop.shutdown_asyncgens())
    run_to_end(loop, asyncio.wait([closing], timeout=limit_s))
    stubborn = asyncio.all_tasks(loop)
    for task in stubborn:
        forget(task)
    if stubborn:
        names = sorted(f"{task.get_name()}: {_name_of(task)}" for task in stubborn)
        structlog.get_logger().error("tasks that processors left do not end, and are left behind", tasks=names)


def forget(task: asyncio.Task[Any]) -> None:
    """Let nobody wait for this task when the loop ends."""
    _forgotten.add(task)
    asyncio._unregister_task(task)  # noqa: SLF001 - documented


def _name_of(task: asyncio.Task[Any]) -> str:
    work = task.get_coro()
    return str(getattr(work, "__qualname__", work))


def hide_own_tasks(loop: asyncio.AbstractEventLoop) -> WeakSet[asyncio.Task[Any]]:
    """Keep the tasks that are made from now on from `asyncio.all_tasks`, but those of user code; return them."""
    hidden: WeakSet[asyncio.Task[Any]] = WeakSet()

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        of_user = runs_user_code.get()
        task = asyncio.Task(EndsForks(work) if of_user and asyncio.iscoroutine(work) else work, loop=loop, **options)
        if not of_user:
            asyncio._unregister_task(task)  # noqa: SLF001 - documented
            hidden.add(task)
        return task

    loop.set_task_factory(make)
    _factories[loop] = make
    return hidden


def take_back_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Put back the task factory that is the service's; return whether code on the loop had set another."""
    own = _factories.get(loop)
    if own is None or loop.get_task_factory() is own:
        return False
    loop.set_task_factory(own)
    return True
