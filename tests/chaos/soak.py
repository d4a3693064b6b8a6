"""Load for minutes, and what grows under it: memory, descriptors, tasks, threads, the database, the loop's lag."""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.sabotaged import SabotagedServer, run_sabotaged
from tests.chaos.workload import Client, Promises

EVERY_S = 2.0
WARM_SHARE = 0.4  # of the time, before the slopes are measured
UNITS = {
    "memory": "MiB", "descriptors": "", "threads": "", "tasks": "", "children": "", "database": "MiB", "files": "",
    "lag": "ms",
}  # fmt: skip


@dataclass
class Soak:
    """Samples by name, each with the second at which it was taken."""

    seed: str
    jobs: int
    seconds: list[float]
    samples: dict[str, list[float]]

    def table(self) -> str:
        """Return the first, the last, the largest and the slope of each."""
        lines = [f"{'':12} {'first':>9} {'last':>9} {'largest':>9} {'slope / min':>12}"]
        for name, values in self.samples.items():
            warm = int(len(values) * WARM_SHARE)
            rise = slope(self.seconds[warm:], values[warm:]) * 60
            shown = [f"{value:9.1f}" for value in (values[warm], values[-1], max(values[warm:]))]
            lines.append(f"{name:12} {' '.join(shown)} {rise:12.2f} {UNITS[name]}")
        return "\n".join(lines)


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the line that fits best (least squares), in units a second."""
    middle, level = sum(times) / len(times), sum(values) / len(values)
    spread = sum((one - middle) ** 2 for one in times)
    return sum((a - middle) * (b - level) for a, b in zip(times, values, strict=True)) / spread if spread else 0.0


def soak(folder: Path, seed: str, minutes: float) -> Soak:
    """Do everything that can be done for so long; finished jobs go soon, so that the folder does not grow."""
    start = time.monotonic()
    result = Soak(seed, 0, [], {name: [] for name in UNITS})
    promises = Promises()
    with run_sabotaged(folder / "data", retention_s=10, prune_interval_s=2, idempotency_retention_s=10) as server:
        client = Client(server.url, promises, random.Random(seed))
        next_s = 0.0
        while (now := time.monotonic() - start) < minutes * 60:
            client.do_any()
            if now >= next_s:
                next_s = now + EVERY_S
                result.seconds.append(now)
                for name, value in sample(server).items():
                    result.samples[name].append(value)
        result.jobs = len(promises.accepted)
        assert server.stop() == 0
    return result


def sample(server: SabotagedServer) -> dict[str, float]:
    """Look at the process from outside, and into its loop from inside."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
    inside = server.look()
    database = sum(path.stat().st_size for path in server.data_dir.glob("filemill.db*"))
    return {
        "memory": int(status["VmRSS"].split()[0]) / 1024,
        "descriptors": len(os.listdir(f"/proc/{server.pid}/fd")),  # noqa: PTH208 - only how many
        "threads": int(status["Threads"]),
        "tasks": inside["tasks"],
        "children": inside["children"],
        "database": database / 1024**2,
        "files": len(os.listdir(server.data_dir / "files")),  # noqa: PTH208
        "lag": inside["lag_s"] * 1000,
    }
