"""Processes and their descendants, as /proc shows them. Where there is no /proc, there is nothing to see.

The child lists of /proc/PID/task are not in every kernel, so descendants are found by the parents of all.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_PRIVATE, _SHARED = {"RssAnon:", "VmSwap:"}, {"RssShmem:"}
_PROPORTIONAL_PRIVATE, _PROPORTIONAL_SHARED = {"Pss_Anon:", "SwapPss:"}, {"Pss_Shmem:"}
_IN_MEMORY = ("/memfd:", "/dev/shm/")  # noqa: S108 - names to look for, nothing is written there
_MOST_OPEN_FILES = 1000
_KIB, _BLOCK_BYTES = 1024, 512
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Look(NamedTuple):
    """A process at one moment. `started` and the id together name it for good, for ids are used again.

    `cpu_s` is what it has used, with what those of its children used that have ended and were waited for.
    """

    state: str = ""
    parent: int = 0
    session: int = 0
    cpu_s: float = 0
    started: int = 0

    @property
    def is_stopped(self) -> bool:
        """Whether a signal such as SIGSTOP holds the process."""
        return self.state == "T"

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, or but waits for its parent to hear of its end."""
        return self.state in {"Z", "X", ""}


Everyone = Mapping[int, Look]


def descendants(ancestor: int) -> list[int]:
    """Return the ids of all processes below this one that have not ended."""
    return descendants_of(look_at_all(), ancestor)


def descendants_of(everyone: Everyone, ancestor: int) -> list[int]:
    """Return the same, as it follows from a look at all."""
    children: dict[int, list[int]] = {}
    for pid, one in everyone.items():
        children.setdefault(one.parent, []).append(pid)
    found, line = [], [ancestor]
    while line:
        below = children.pop(line.pop(), [])
        found += below
        line += below
    return found


def look_at_all() -> dict[int, Look]:
    """Look at every process that has not ended."""
    looks = {int(name): look_at(int(name)) for name in _names(_PROC) if name.isdigit()}
    return {pid: one for pid, one in looks.items() if not one.has_ended}


def look_at(pid: int) -> Look:
    """Look at a process; see proc_pid_stat(5)."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split(maxsplit=20)
        cpu_s = sum(map(int, fields[11:15])) / _TICKS_PER_S
        return Look(fields[0].decode(), int(fields[1]), int(fields[3]), cpu_s, int(fields[19]))
    except (OSError, ValueError, IndexError):  # it has just ended
        return Look()


def strays(keeper_pid: int, mark: str, seen: Everyone) -> list[int]:
    """Return what runs still of the family of a keeper that is dead.

    Their parent tells no more. What does: the session of the keeper, a mark in the environment that each inherits
    unless it was given another one, and what was `seen` below the keeper while it lived.
    """
    wanted = os.fsencode(mark)
    return [
        pid
        for pid, one in look_at_all().items()
        if (pid in seen and seen[pid].started == one.started) or one.session == keeper_pid or _has_mark(pid, wanted)
    ]


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send the signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def own_bytes(*pids: int) -> int:
    """Return the memory of processes that is not backed by a file: what they would give back by ending.

    Mapped files do not count, for the kernel drops them when it wants; files that are held open in memory do,
    mapped or not. Pages that are shared with a fork count for both; see `shared_out_bytes`.
    """
    return _held_bytes(pids, "status", _PRIVATE, _SHARED)


def shared_out_bytes(*pids: int) -> int:
    """Return the same memory, with each shared page divided among those who share it. This costs milliseconds."""
    return _held_bytes(pids, "smaps_rollup", _PROPORTIONAL_PRIVATE, _PROPORTIONAL_SHARED)


def open_in_memory_bytes(pids: Iterable[int]) -> int:
    """Return the size of the files in memory, such as those of memfd_create(2), that are open there, each once."""
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        folder = _PROC / str(pid) / "fd"
        for name in _names(folder)[:_MOST_OPEN_FILES]:
            with contextlib.suppress(OSError):
                if os.readlink(folder / name).startswith(_IN_MEMORY):  # noqa: PTH115 - not the place that it leads to
                    status = (folder / name).stat()
                    sizes[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return sum(sizes.values())


def oom_kills() -> int:
    """Return how many processes the kernel has ended for lack of memory since it started."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        return mark in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _held_bytes(pids: Sequence[int], table: str, private: set[str], shared: set[str]) -> int:
    tables = [_lines(_PROC / str(pid) / table) for pid in pids]
    mapped = sum(_sum(lines, shared) for lines in tables)
    return sum(_sum(lines, private) for lines in tables) + max(mapped, open_in_memory_bytes(pids))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - only the names are wanted
    except OSError:
        return []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _sum(lines: Iterable[str], names: set[str]) -> int:
    return sum(int(words[1]) * _KIB for line in lines if (words := line.split())[:1] and words[0] in names)
