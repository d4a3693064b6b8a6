"""Calling a processor with all that it needs: in a child process, or on the event loop."""

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from service.processors.base import JobContext, Processor
from service.processors.dependencies import Factory, Needs, Provision, provision_of

T = TypeVar("T")
Overrides = Mapping[Factory, Factory]
_Hop = Callable[..., Awaitable[Any]]
_Drive = Callable[[Coroutine[Any, Any, Any]], Any]


def call(processor: Processor, job: JobContext, params: dict[str, Any], overrides: Overrides | None = None) -> Any:
    """Call a `def` processor with checked params and its dependencies, and return what it returns."""
    arguments = processor.arguments(params)
    if not processor.needs:
        return processor.function(job, **arguments)
    provider = _Provider(job, _at_once, overrides or {})
    with _driver(processor.needs, overrides) as drive, contextlib.ExitStack() as stack:
        stack.push(lambda *error: drive(provider.close(*error)))
        return processor.function(job, **arguments, **drive(provider.provide(processor.needs)))


async def acall(
    processor: Processor, job: JobContext, params: dict[str, Any], overrides: Overrides | None = None
) -> Any:
    """Call an `async def` processor with checked params and its dependencies, and return what it returns.

    Factories that are no coroutines run in a thread: one that blocks must not stop the loop.
    """
    arguments = processor.arguments(params)
    if not processor.needs:
        return await processor.function(job, **arguments)
    provider = _Provider(job, _in_thread, overrides or {})
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(provider.close)
        return await processor.function(job, **arguments, **await provider.provide(processor.needs))


class _Provider:
    """Makes the dependencies of one attempt, each once. `hop` runs what is not asynchronous."""

    def __init__(self, job: JobContext, hop: _Hop, overrides: Overrides) -> None:
        self._job = job
        self._hop = hop
        self._overrides = {id(factory): provision_of("overrides", other) for factory, other in overrides.items()}
        self._made: dict[int, Any] = {}
        self._stack = contextlib.AsyncExitStack()

    async def provide(self, needs: Needs) -> dict[str, Any]:
        """Return a value for each name."""
        return {name: await self._value(one) for name, one in needs.items()}

    async def close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run what follows each `yield`, the last one first."""
        await self._stack.__aexit__(kind, error, trace)

    async def _value(self, wanted: Provision) -> Any:
        key = id(wanted.factory)
        if key not in self._made:
            self._made[key] = await self._make(self._overrides.get(key, wanted))
        return self._made[key]

    async def _make(self, one: Provision) -> Any:
        arguments = dict.fromkeys(one.jobs, self._job) | await self.provide(one.needs)
        match one.kind:
            case "value":
                return await self._hop(one.factory, **arguments)
            case "coroutine":
                return await one.factory(**arguments)
            case "generator":
                return await self._enter(contextlib.contextmanager(one.factory)(**arguments))
            case "async generator":
                return await self._enter_async(contextlib.asynccontextmanager(one.factory)(**arguments))

    async def _enter(self, context: contextlib.AbstractContextManager[Any]) -> Any:
        entered = False

        def enter() -> Any:
            nonlocal entered
            value = context.__enter__()
            entered = True
            return value

        async def leave(*error: Any) -> None:  # None: the factory cannot hide how the attempt ended
            if entered:
                await self._hop(context.__exit__, *error)

        self._stack.push_async_exit(leave)  # before it is entered: the attempt may be cancelled while a thread does it
        return await self._hop(enter)

    async def _enter_async(self, context: contextlib.AbstractAsyncContextManager[Any]) -> Any:
        value = await context.__aenter__()

        async def leave(*error: Any) -> None:
            await context.__aexit__(*error)

        self._stack.push_async_exit(leave)
        return value


# ---- ways to run it


async def _at_once(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return function(*args, **kwargs)


async def _in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run in a thread; cancelled meanwhile, wait for the thread, which cannot be stopped, and only then pass it on.

    What it raises comes back as a value: a future cannot hold StopIteration, and a task would let SystemExit pass out
    of the event loop.
    """
    run = functools.partial(contextvars.copy_context().run, _outcome_of, function, *args, **kwargs)
    work = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        value, error = await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _outcome_of(function: Callable[..., T], *args: Any, **kwargs: Any) -> tuple[T | None, BaseException | None]:
    """Return what a function returns, and what it raises."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
        return None, error


@contextlib.contextmanager
def _driver(needs: Needs, overrides: Overrides | None) -> Iterator[_Drive]:
    """Give what runs a coroutine to its end: an event loop, where asynchronous code makes a dependency."""
    made = [*needs.values(), *(provision_of("overrides", one) for one in (overrides or {}).values())]
    if any(one.needs_loop for one in made):
        with asyncio.Runner() as runner:
            yield runner.run
    else:
        yield _drive_at_once


def _drive_at_once(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in which nothing waits."""
    try:
        steps.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise RuntimeError("a dependency waited without an event loop")
