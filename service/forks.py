"""Forks of a process of the service, which the code of processors makes: `os.fork`, or `multiprocessing` with "fork".

A fork is a copy of the whole process. Where the processor's code is done it must end: if it went on, it would settle
the job, answer the server's requests, and wait for threads that are not there. And it must not hold what belongs to the
server: one that outlives it would keep the port, and the lock of the data folder, from the next one.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NoReturn, Self

_on_fork: list[Callable[[], object]] = []


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
    for act in _on_fork:
        with contextlib.suppress(Exception):
            act()


os.register_at_fork(after_in_child=_call_each)
