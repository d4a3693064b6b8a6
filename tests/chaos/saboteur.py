"""A real server that can be told to die, or to meet a fault, at any step: what runs inside its process.

    python -m tests.chaos.saboteur SOCKET serve ...

The steps are wrapped from outside, so that the service itself carries no crash points: there is nothing in it that
could be left switched on, and nothing to pay for. Orders come as JSON over a Unix socket, and are answered when they
are in force. What SQLite does within a step is the business of strace (`tests.acceptance.test_power_loss`).
"""

import asyncio
import json
import os
import queue
import signal
import socket
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

BEFORE, AFTER, COMMITTED = "before", "after", "committed"
JOB_STATEMENTS = (
    "add_jobs", "claim_jobs", "advance_jobs", "settle_jobs", "cancel_jobs", "retry_jobs", "rescue_jobs",
    "release_jobs", "stage_jobs",
)  # fmt: skip
FILE_STATEMENTS = ("keep_files", "delete_jobs", "delete_files")


class Sabotage:
    """What is to happen at which step.

    `kill` is `[point, n]`: SIGKILL the n-th time that the point is passed. `fail` names steps and the error number that
    each fails with. `clock_s` is what the clock is off.
    """

    def __init__(self) -> None:
        self.kill: tuple[str, int] | None = None
        self.fail: dict[str, int] = {}
        self.clock_s = 0.0
        self.seen: Counter[str] = Counter()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._uncommitted: set[str] = set()

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Take an order; return what was seen since the one before."""
        seen, self.seen = self.seen, Counter()
        self.fail = order.get("fail", {})
        self.clock_s = order.get("clock_s", 0.0)
        self.kill = tuple(order["kill"]) if order.get("kill") else None
        return dict(seen)

    def look(self) -> dict[str, float]:
        """Return what only this process can see: the tasks, the children, and how late the loop is now."""
        assert self.loop is not None, "no job has run yet"
        late: queue.SimpleQueue[float] = queue.SimpleQueue()
        asked = time.monotonic()
        self.loop.call_soon_threadsafe(lambda: late.put(time.monotonic() - asked))
        children = Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
        return {"lag_s": late.get(), "tasks": len(asyncio.all_tasks(self.loop)), "children": len(children)}

    def reach(self, point: str) -> None:
        """Pass a point."""
        self.seen[point] += 1
        name, _, when = point.partition(".")
        if when == AFTER:
            self._uncommitted.add(name)
        if self.kill and self.kill == (point, self.seen[point]):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # it is a thread's last moment

    def take_uncommitted(self) -> list[str]:
        """Return what was done since the last commit; some of it may be no statement, and is asked for by nobody."""
        done, self._uncommitted = self._uncommitted, set()
        return sorted(done)

    def refuse(self, step: str) -> None:
        """Fail in a step that is to fail."""
        if number := self.fail.get(step):
            raise OSError(number, os.strerror(number))


sabotage = Sabotage()


def step(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the call with a point before and a point after it."""

    def wrapped(*args: Any, **options: Any) -> Any:
        sabotage.reach(f"{name}.{BEFORE}")
        sabotage.refuse(name)
        answer = call(*args, **options)
        sabotage.reach(f"{name}.{AFTER}")
        return answer

    return wrapped


def async_step(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the coroutine function with a point before and a point after it."""

    async def wrapped(*args: Any, **options: Any) -> Any:
        sabotage.loop = asyncio.get_running_loop()
        sabotage.reach(f"{name}.{BEFORE}")
        answer = await call(*args, **options)
        sabotage.reach(f"{name}.{AFTER}")
        return answer

    return wrapped


def put(place: object, **calls: Callable[..., Any]) -> None:
    """Put these in place of the ones that are there."""
    for name, call in calls.items():
        assert hasattr(place, name)
        setattr(place, name, call)


def wrap_disk() -> None:
    """Put points around what is asked of the disk."""
    from service.boot_folder import BootFolder  # noqa: PLC0415
    from service.storage import incoming_file, local  # noqa: PLC0415 - after the socket is there

    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink
    steps = {name: step(name, fsync) for name in ("fsync", "folder_fsync")}
    rename, remove = step("rename", replace), step("unlink", unlink)

    def chosen_fsync(fd: int) -> None:
        steps["folder_fsync" if stat.S_ISDIR(os.fstat(fd).st_mode) else "fsync"](fd)

    def chosen_replace(path: Path, target: Path) -> Path:
        return (rename if _is_stored(target) else replace)(path, target)

    def chosen_unlink(path: Path, *, missing_ok: bool = False) -> None:
        (remove if _is_stored(path) else unlink)(path, missing_ok=missing_ok)

    put(os, fsync=chosen_fsync)
    put(Path, replace=chosen_replace, unlink=chosen_unlink)
    put(incoming_file, _write_whole=step("write", incoming_file._write_whole))
    put(local.LocalStorage, _seal=step("output", local.LocalStorage._seal))
    put(BootFolder, _delete_others=step("sweep", BootFolder._delete_others))


def _is_stored(path: Path) -> bool:
    return path.parent.name == "files"


def wrap_database() -> None:
    """Put points around each statement, and one after its commit, before anybody hears of it."""
    import service.store.open as opening  # noqa: PLC0415
    from service.store import files, jobs  # noqa: PLC0415
    from service.store.feed import Feed  # noqa: PLC0415

    for module, names in ((jobs, JOB_STATEMENTS), (files, FILE_STATEMENTS)):
        for name in names:
            put(module, **{name: step(name, getattr(module, name))})
    wake = Feed.wake

    def committed(feed: Feed) -> None:
        for name in sabotage.take_uncommitted():
            sabotage.reach(f"{name}.{COMMITTED}")
        wake(feed)

    put(Feed, wake=committed)
    put(opening, upgrade=step("migrate", getattr(opening, "upgrade")))  # noqa: B009 - the module does not export it


def wrap_worker() -> None:
    """Put points around each attempt."""
    from service.worker.children import ChildRunner  # noqa: PLC0415

    put(ChildRunner, run=async_step("attempt", ChildRunner.run))


def wrap_clock() -> None:
    """Let the clock be wrong. The ids of one process go on from the latest, whatever the clock does."""
    from service.clock import SystemClock  # noqa: PLC0415

    now = SystemClock.now

    def wrong_now(clock: SystemClock) -> datetime:
        return now(clock) + timedelta(seconds=sabotage.clock_s)

    put(SystemClock, now=wrong_now)


def listen(path: str) -> None:
    """Take orders in a thread of its own."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=_obey_all, args=[listener], daemon=True).start()


def _obey_all(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            order = json.loads(stream.readline())
            answer = sabotage.look() if order.get("look") else sabotage.obey(order)
            stream.write(json.dumps(answer) + "\n")


def main() -> None:
    """Serve, with points."""
    place = Path(sys.argv.pop(1))
    place.unlink(missing_ok=True)
    order = place.with_suffix(".json")
    if order.exists():  # an order from the beginning is for one start
        sabotage.obey(json.loads(order.read_text()))
        order.unlink()
    listen(str(place))
    for wrap in (wrap_disk, wrap_database, wrap_worker, wrap_clock):
        wrap()
    from service.cli import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
