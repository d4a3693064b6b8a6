"""The client that blocks: one thread, one connection pool."""

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import httpx

from service.client.operations import Operations
from service.client.wire import BlockingWire, run
from service.clock import Clock, SystemClock
from service.settings import load_settings

P = ParamSpec("P")
T = TypeVar("T")


def _call(
    method: Callable[Concatenate[Operations, P], Coroutine[Any, Any, T]],
) -> "Callable[Concatenate[Filemill, P], T]":
    """Return the operation as a method that blocks."""

    @functools.wraps(method)
    def call(mill: "Filemill", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(mill.operations, *args, **kwargs))

    return cast("Callable[Concatenate[Filemill, P], T]", call)


def _iterate(
    method: Callable[Concatenate[Operations, P], AsyncIterator[T]],
) -> "Callable[Concatenate[Filemill, P], Iterator[T]]":
    """Return the operation as a method that gives an iterator, which blocks for each value."""

    @functools.wraps(method)
    def iterate(mill: "Filemill", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        values = cast("Any", method(mill.operations, *args, **kwargs))
        try:
            while True:
                try:
                    yield run(values.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            run(values.aclose())

    return cast("Callable[Concatenate[Filemill, P], Iterator[T]]", iterate)


class Filemill:
    """A Filemill server, seen from Python. Use it as a context manager, or `close` it.

    >>> from pathlib import Path
    >>> from service.client import Filemill, ProblemError, StateEvent

    Submit a file, wait for the job, and download what it made:

    >>> with Filemill() as mill:
    ...     job = mill.submit("image.thumbnail", [Path("photo.jpg")], {"width": 160})
    ...     job = mill.wait(job.id, timeout_s=30)
    ...     [mill.download(file, Path()).name for file in job.outputs]
    ['photo-160w.jpg']

    Make one job of each file, and watch all that happens to the last of them:

    >>> with Filemill() as mill:
    ...     jobs = list(mill.submit_many("file.checksum", sorted(Path().glob("*.jpg"))))
    ...     [event.state.value for event in mill.watch(jobs[-1].id) if isinstance(event, StateEvent)]
    ['queued', 'running', 'succeeded']

    What the server refuses is an exception that says why, and what would do:

    >>> with Filemill() as mill:
    ...     try:
    ...         mill.submit("image.thumbnail", [Path("photo.jpg")], {"width": "wide"})
    ...     except ProblemError as problem:
    ...         print(problem.code, [error.field for error in problem.errors])
    invalid_params ['params.width']

    `url` None is the setting FILEMILL_URL. Every method raises `ProblemError` when the server says no and
    `ServerUnreachableError` when there is none. `list`, `files`, `submit_many` and `watch` give
    iterators.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.url = load_settings().url if url is None else url
        self.operations = Operations(BlockingWire(self.url, transport, sleep), clock or SystemClock())

    submit = _call(Operations.submit)
    submit_many = _iterate(Operations.submit_many)
    get = _call(Operations.get)
    wait = _call(Operations.wait)
    watch = _iterate(Operations.watch)
    list = _iterate(Operations.list)
    cancel = _call(Operations.cancel)
    retry = _call(Operations.retry)
    delete = _call(Operations.delete)
    file = _call(Operations.file)
    files = _iterate(Operations.files)
    delete_file = _call(Operations.delete_file)
    download = _call(Operations.download)
    processors = _call(Operations.processors)
    processor = _call(Operations.processor)
    stats = _call(Operations.stats)
    close = _call(Operations.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
