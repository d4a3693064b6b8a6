"""How many cores this process may use: those that it may run on, or as many as its share of time is worth.

A container is given a share (`docker run --cpus 2`, `resources.limits.cpu`), and sees all cores of its host.
https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores of the affinity, or the least share of the groups that the process is in, rounded up."""
    return max(1, min([len(os.sched_getaffinity(0)), *map(math.ceil, _shares(groups, mount))]))


def _shares(groups: Path, mount: Path) -> Iterator[float]:
    for folder in _folders(groups, mount):
        with suppress(OSError, ValueError):  # no such file, or `max`
            share, period = (folder / "cpu.max").read_text().split()
            yield int(share) / int(period)
        with suppress(OSError, ValueError):  # version 1, where -1 is no limit
            share = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
            if int(share) > 0:
                yield int(share) / int(period)


def _folders(groups: Path, mount: Path) -> Iterator[Path]:
    """Yield the folders of the groups that limit time, each with those above it."""
    with suppress(OSError):
        for line in groups.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds or "cpu" in kinds.split(","):
                root = mount if not kinds else mount / "cpu"
                folder = root / path.lstrip("/")
                yield from (folder, *(one for one in folder.parents if one.is_relative_to(root)))
