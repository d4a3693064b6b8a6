"""Forks of a process of the service, which the code of processors makes: `os.fork`, or `multiprocessing` with "fork".

A fork is a copy of the whole process. Where the processor's code is done it must end: if it went on, it would settle
the job, answer the server's requests, and wait for threads that are not there. And it must not hold what belongs to the
server: one that outlives it would keep the port, and the lock of the data folder, from the next one.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

T = TypeVar("T")

_STDERR = 2
_CAME_BACK = b"a process that code on the event loop had forked came back to the loop, and was ended\n"

_on_fork: list[Callable[[], object]] = []
_stderr: tuple[int, int] | None = None


class ForksEndHere:
    """A process that is forked in the block ends with it, as a program does. Use as `with`."""

    def __enter__(self) -> Self:
        self._pid = os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            _end(error)


class EndsForks(Coroutine[Any, Any, T]):
    """A coroutine of others, for the event loop: a process that it forks ends before it comes back to the loop.

    On the loop it would run whatever else is ready, a second time: the tasks of the server, and of its clients. It
    ends where it awaits, too. For whoever looks into the coroutine (`cr_frame`, `__qualname__`), it is the one inside.
    """

    __slots__ = ("__weakref__", "_pid", "_work")

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._pid = os.getpid()

    def send(self, value: Any, /) -> Any:
        return self._step(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._work.throw, *error)

    def close(self) -> None:
        self._step(self._work.close)

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._step(self._work.send, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def _step(self, step: Callable[..., Any], *values: Any) -> Any:
        try:
            found = step(*values)
        except BaseException as error:
            if os.getpid() != self._pid:
                _end(None if isinstance(error, StopIteration) else error)
            raise
        if os.getpid() != self._pid:
            end_on_the_loop()
        return found


def end_on_the_loop() -> NoReturn:
    """End a fork that has come back to the loop: it would go on as a second server, with the same connections."""
    say(_CAME_BACK)
    os._exit(1)


def hold_stderr() -> None:
    """Take what is standard error now for the one that `say` writes to."""
    global _stderr  # noqa: PLW0603 - a process has one
    _stderr = identity_of(_STDERR)


def say(sentence: bytes) -> None:
    """Write to standard error, but not into what a fork has opened where that was."""
    with contextlib.suppress(OSError):
        if _stderr is not None and identity_of(_STDERR) == _stderr:
            os.write(_STDERR, sentence)


def identity_of(number: int) -> tuple[int, int] | None:
    """Return what tells that a descriptor is still of the same file; None where it is closed."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def in_each_fork(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` first of all in each fork that is made in the block."""
    _on_fork.append(act)
    try:
        yield
    finally:
        _on_fork.remove(act)


def _end(error: BaseException | None) -> NoReturn:
    """End this process: what was raised is told on standard error, and `sys.exit` says the code."""
    code = 1
    with contextlib.suppress(BaseException):  # such as a `__str__` that raises
        code = _told(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code)


def _told(error: BaseException | None) -> int:
    match error:
        case None | SystemExit(code=None):
            return 0
        case SystemExit(code=int(code)):
            return code & 0xFF
        case SystemExit():
            print(error.code, file=sys.stderr)  # noqa: T201 - as Python does
        case _:
            traceback.print_exception(error)
    return 1


def _call_each() -> None:
    if _stderr is None:
        hold_stderr()
    for act in _on_fork:
        with contextlib.suppress(Exception):
            act()


os.register_at_fork(after_in_child=_call_each)
