"""The machine that the figures come from: its cores, and how fast its disk makes bytes durable."""

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.rows import AbsentError, Scale

MIB = 1024**2
_MIB = bytes(1024 * 1024)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures depend on."""

    cores: int
    system: str
    python: str
    sqlite: str
    file_system: str
    syncs_per_s: float
    dd_mib_per_s: float | None

    def __str__(self) -> str:
        written = "dd: not there" if self.dd_mib_per_s is None else f"dd conv=fsync {self.dd_mib_per_s:,.0f} MiB/s"
        return (
            f"{self.cores} cores, {self.system}, Python {self.python}, SQLite {self.sqlite}, "
            f"{self.file_system}: {self.syncs_per_s:,.0f} fsyncs/s of 4 KiB, {written}"
        )


def survey(folder: Path, scale: Scale) -> Machine:
    """Measure the disk under `folder`, and ask the rest."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        file_system=_file_system(folder),
        syncs_per_s=_syncs_per_s(folder / "syncs", scale.pick(400, 200, 20)),
        dd_mib_per_s=_dd(folder / "dd", scale.pick(1024, 256, 8)),
    )


def dd_seconds(path: Path, mebibytes: int) -> float:
    """Write zeros as `dd bs=1M conv=fsync` does: seconds until they are durable.

    Raises:
        AbsentError: there is no dd.
    """
    dd = shutil.which("dd")
    if dd is None:
        raise AbsentError("dd is not installed")
    began = time.perf_counter()
    subprocess.run(
        [dd, "if=/dev/zero", f"of={path}", "bs=1M", f"count={mebibytes}", "conv=fsync"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return time.perf_counter() - began


def touch_memory(path: Path, mebibytes: int) -> None:
    """Fill as much of the page cache and free it again, so that the next to write gets pages that are there."""
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(mebibytes):
                file.write(_MIB)
    finally:
        path.unlink(missing_ok=True)


def _dd(path: Path, mebibytes: int) -> float | None:
    try:
        touch_memory(path, mebibytes)
        return mebibytes / dd_seconds(path, mebibytes)
    except (AbsentError, OSError, subprocess.SubprocessError):
        return None
    finally:
        path.unlink(missing_ok=True)


def _syncs_per_s(path: Path, count: int) -> float:
    """Append 4 KiB and sync, again and again: the median of the seconds, turned round."""
    seconds = []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(count):
            began = time.perf_counter()
            os.write(file, bytes(4096))
            os.fsync(file)
            seconds.append(time.perf_counter() - began)
    finally:
        os.close(file)
        path.unlink()
    return 1 / statistics.median(seconds)


def _file_system(folder: Path) -> str:
    """Return the type of the file system, from the mount that is the nearest above."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown file system"
    place, found = folder.resolve(), ("", "unknown file system")
    for line in lines:
        mount, kind = line.split()[1:3]
        if place.is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    return found[1]
