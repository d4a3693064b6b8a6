"""What the service does beside its jobs, for as long as it is open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from service.lasting import LastingTask

log = structlog.get_logger()


@asynccontextmanager
async def open_duties(*duties: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[Callable[[], list[str]]]:
    """Keep up duties that have no end beside the body, and end them with it; give what names those that are lost."""
    is_over = asyncio.Event()
    tasks = [LastingTask(duty, _name_of(duty), is_over.is_set) for duty in duties]
    try:
        yield lambda: [task.name for task in tasks if task.is_lost]
    finally:
        is_over.set()
        for task in tasks:
            task.stop()
        await asyncio.gather(*(task.ended() for task in tasks))


def _name_of(duty: Callable[..., Any]) -> str:
    """Return the name of a function, or of the last one that is handed to another."""
    while isinstance(duty, partial):
        duty = next(filter(callable, reversed(duty.args)), duty.func)
    return getattr(duty, "__qualname__", repr(duty))


@asynccontextmanager
async def open_errands(*errands: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run what is done once beside the body, and end it with the body."""
    tasks = [asyncio.create_task(one, name=getattr(one, "__qualname__", None)) for one in errands]
    for task in tasks:
        task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background duty ended", duty=task.get_name(), exc_info=error)
