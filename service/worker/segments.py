"""Shared memory that an attempt leaves behind: it outlives all processes, and nobody says whose it is.

Of what came to be while the attempt ran, that is the attempt's which one of its processes was seen to hold, or made
(System V writes down who), and which nobody else holds when they have ended. What a process made, let go without
unlinking it and did not hold when it was looked at, cannot be told from another program's, and stays; so do the
semaphores of System V, which nobody holds and which do not say who made them.

On Linux, POSIX segments and semaphores are files below /dev/shm; those of System V are listed in /proc/sysvipc.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_FOLDER = "/dev/shm"  # noqa: S108 - where such memory is
_REMOVALS = {"shm": "shmctl", "msg": "msgctl"}
_TABLES = {kind: f"/proc/sysvipc/{kind}" for kind in _REMOVALS}
_USERS = {"shm": ("cpid",), "msg": ("lspid", "lrpid")}
_IPC_RMID = 0


class Segment(NamedTuple):
    """A piece of shared memory: `kind` is `file`, `shm` or `msg` (a queue); a name alone could be used again."""

    kind: str
    name: str
    number: int


class Segments:
    """Knows which segments there were when it was made, and then which of the new ones are certainly ours."""

    def __init__(self) -> None:
        self._before = set(_present())
        self._ours: set[Segment] = set()
        self._seen_by: dict[Segment, set[int]] = {}

    def look(self, pids: Iterable[int]) -> None:
        """Note which of the new segments these processes hold, or made.

        To ask what a process holds is dear, and may hang with it: of one segment, each process is asked once.
        """
        found, pids = _present(), set(pids)
        new = found.keys() - self._before - self._ours
        unasked = {pid for one in new for pid in pids - self._seen_by.get(one, set())}
        held = {one for pid in unasked for one in _held_by(pid)}
        ours = {one for one in new if _is_held(one, held) or _is_made_by(pids, one, found[one])}
        self._ours |= ours
        self._seen_by = {one: self._seen_by.get(one, set()) | pids for one in new - ours}

    def remove(self, *ending: int) -> list[str]:
        """Remove ours, but for those that a process other than the `ending` ones holds; return their names."""
        if not self._ours:
            return []
        doomed, self._ours = self._ours & _present().keys(), set()
        others = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - only the names are wanted
        held = {one for pid in others if pid not in ending for one in _held_by(pid)}
        return sorted(one.name for one in doomed if not _is_held(one, held) and _remove(one))


def _present() -> dict[Segment, dict[str, str]]:
    """Return all segments, with what System V tells of its own."""
    found: dict[Segment, dict[str, str]] = {}
    with contextlib.suppress(OSError), os.scandir(_FOLDER) as entries:
        found |= {Segment("file", entry.name, entry.inode()): {} for entry in entries}
    for kind, table in _TABLES.items():
        with contextlib.suppress(OSError, ValueError):
            heads, *rows = (line.split() for line in _text(table).splitlines())
            for row in rows:  # which begins with the key and the number
                found[Segment(kind, row[0], int(row[1]))] = dict(zip(heads, row, strict=False))
    return found


def _text(table: str) -> str:
    """Read a small file in /proc; `open` would cost more than the rest of a look."""
    descriptor = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = iter(lambda: os.read(descriptor, 1 << 16), b"")
        return b"".join(pieces).decode("ascii")
    finally:
        os.close(descriptor)


def _is_made_by(pids: set[int], segment: Segment, facts: dict[str, str]) -> bool:
    """Whether they made it; of a queue, which does not tell, whether they and nobody else used it."""
    users = {int(facts[name]) for name in _USERS.get(segment.kind, ())} - {0}
    return bool(users) and users <= pids


def _is_held(segment: Segment, held: set[tuple[str, str]]) -> bool:
    return (segment.kind, str(segment.number)) in held or (segment.kind, f"/{segment.name}") in held


def _held_by(pid: int) -> Iterator[tuple[str, str]]:
    """Yield kind and number of each segment that the process has mapped or opened, and the names of those in /dev/shm.

    The number says more, for sem_open(3) makes a semaphore under another name; the name, where it is that of a folder.
    """
    for place, number in (*_mapped_by(pid), *_opened_by(pid)):
        if place.startswith(f"{_FOLDER}/"):
            yield "file", number
            yield "file", "/" + place.removeprefix(f"{_FOLDER}/").partition("/")[0]
        elif place.startswith("/SYSV"):
            yield "shm", number


def _mapped_by(pid: int) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(OSError), Path("/proc", str(pid), "maps").open(errors="surrogateescape") as lines:
        for line in lines:
            if f" {_FOLDER}/" in line or " /SYSV" in line:
                fields = line.rstrip("\n").split(maxsplit=5)
                yield fields[-1], fields[4]


def _opened_by(pid: int) -> Iterator[tuple[str, str]]:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - only the names are wanted
            with contextlib.suppress(OSError):
                place = os.readlink(f"{folder}/{name}")  # noqa: PTH115 - not the place that it leads to
                if place.startswith(_FOLDER):
                    yield place, str(Path(folder, name).stat().st_ino)


def _remove(segment: Segment) -> bool:
    if segment.kind != "file":
        remove = getattr(ctypes.CDLL(None), _REMOVALS[segment.kind])
        return bool(remove(segment.number, _IPC_RMID, None) == 0)
    path = Path(_FOLDER, segment.name)
    try:
        status = path.lstat()
        if (status.st_ino, status.st_uid) != (segment.number, os.geteuid()):
            return False
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError:
        return False
    return True
