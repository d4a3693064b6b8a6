"""Processes that Python's `multiprocessing` starts by the way, once, and goes on to use: trackers and fork servers.

A resource tracker knows the names of shared memory and of semaphores, and unlinks what was left when all who told it
of them have ended. So it is the last to be killed.
"""

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TRACKER_LIMIT_S = 10.0
_TRACKS = b"resource_tracker import main"  # also that of loky, which joblib brings


def without_trackers(pids: Iterable[int]) -> list[int]:
    """Return the processes that are no resource trackers."""
    return [pid for pid in pids if not _is_tracker(pid)]


def to_be_killed(pids: Iterable[int], waited_s: float) -> list[int]:
    """Return those that are to be killed now: trackers go by themselves, and have some seconds for it."""
    return list(pids) if waited_s > TRACKER_LIMIT_S else without_trackers(pids)


def let_go() -> None:
    """Have this process forget its trackers and its fork server, so that they end; the next use starts new ones."""
    for tracker in _trackers():
        _close(tracker, "_fd")
        tracker._pid = None  # noqa: SLF001 - there is no public way
    if (server := _private("multiprocessing.forkserver", "_forkserver")) is not None:
        _close(server, "_forkserver_alive_fd")
        server._forkserver_pid = server._forkserver_address = None  # noqa: SLF001


def set_aside() -> set[int]:
    """Forget the trackers, and let them live as long as this process: they know what imports made; return their ids."""
    pids = set()
    for tracker in _trackers():
        pids.add(tracker._pid)  # noqa: SLF001
        tracker._fd = tracker._pid = None  # noqa: SLF001
    return pids - {None}


def _trackers() -> list[Any]:
    names = [name for name in sys.modules if name.endswith("resource_tracker")]
    found = (_private(name, "_resource_tracker") for name in names)
    return [one for one in found if getattr(one, "_fd", None) is not None]


def _private(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _close(holder: Any, name: str) -> None:
    descriptor = getattr(holder, name, None)
    setattr(holder, name, None)
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _is_tracker(pid: int) -> bool:
    try:
        return _TRACKS in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False
