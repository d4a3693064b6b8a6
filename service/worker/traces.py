"""What a processor has changed in its process for the processors that come after it.

The memory of a child is shared by all its jobs, and no check can see all of it. These are the changes that have
cost others their jobs: an alarm that goes off later, a limit that cannot be raised again, a thread that goes on, a
recursion limit or a timeout of sockets that is meant for one.
"""

import contextlib
import gc
import locale
import os
import resource
import signal
import socket
import sys
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # that of `signal` makes an enum of each, for half a look
from typing import Any

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
_SIGNALS = sorted(signal.valid_signals())
_MOST_NAMES = 20


class Traces:
    """Remembers how the process is when made."""

    def __init__(self) -> None:
        self._before = _state()

    def changes(self) -> list[str]:
        """Return what is not as it was, in words."""
        now = _state()
        return [_told(what, self._before[what], now[what]) for what in now if now[what] != self._before[what]]


def _state() -> dict[str, Any]:
    return {
        "environment": os.environ._data.copy(),  # type: ignore[attr-defined]  # noqa: SLF001 - `dict` decodes each value
        "working folder": _working_folder(),
        "umask": _umask(),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": {limit: resource.getrlimit(limit) for limit in _LIMITS},
        "signal handlers": {number: getsignal(number) for number in _SIGNALS},
        "blocked signals": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "timers": [signal.getitimer(timer)[0] > 0 for timer in _TIMERS],
        "threads": set(sys._current_frames()),  # noqa: SLF001 - documented; also those that `threading` did not start
        "interpreter": _interpreter(),
        "locale": locale.setlocale(locale.LC_ALL),
    }


def _interpreter() -> dict[str, Any]:
    return {
        "recursion limit": sys.getrecursionlimit(),
        "trace function": sys.gettrace(),
        "profile function": sys.getprofile(),
        "garbage collection": gc.isenabled(),
        "timeout of sockets": socket.getdefaulttimeout(),
    }


def _told(what: str, before: Any, now: Any) -> str:
    """Name the change; of what is kept by name, also the names, but no values, which may be secret."""
    match before, now:
        case dict(), dict():
            names = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
        case set(), set():
            names = {_thread_name(one) if what == "threads" else one for one in before ^ now}
        case _:
            return what
    return f"{what}: {', '.join(sorted(map(_name, names))[:_MOST_NAMES])}"


def _name(thing: Any) -> str:
    if isinstance(thing, bytes):
        return os.fsdecode(thing)
    return thing.name if isinstance(thing, signal.Signals) else str(thing)


def _thread_name(ident: int) -> str:
    return next((one.name for one in threading.enumerate() if one.ident == ident), f"thread {ident}")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _working_folder() -> str:
    with contextlib.suppress(OSError):
        return os.getcwd()  # noqa: PTH109 - `Path.cwd` is the same, and slower
    return ""
