"""kill -9 at every step: around each write, fsync, rename, folder fsync, commit, claim, output, settle and delete.

The long form is `python -m tests.chaos`: every point there is, also in the middle of a start.
"""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.invariants import processes_of
from tests.chaos.crash_points import STEPS, attack_all
from tests.chaos.sabotaged import run_sabotaged

SEED = os.environ.get("CRASH_SEED") or str(random.getrandbits(32))
LANES = 2


@pytest.mark.timeout(300)
def test_a_kill_at_any_step_of_a_jobs_life_loses_nothing_and_leaves_nothing(tmp_path):
    print(f"repeat this run with CRASH_SEED={SEED}")  # noqa: T201 - pytest shows it when the test fails
    points = [*STEPS, "rescue_jobs.after"]
    with ThreadPoolExecutor(LANES) as threads:  # a start leaves a core idle for most of its time
        lanes = [threads.submit(kill_at_each, tmp_path / str(lane), points[lane::LANES]) for lane in range(LANES)]
        assert sum(lane.result() for lane in lanes) == len(points)


def kill_at_each(folder, points):
    """Kill a server of its own at these points; return how often."""
    with run_sabotaged(folder / "data", job_max_attempts=1) as server:
        attack = attack_all(server, points, SEED)
        assert server.stop() == 0
        assert processes_of(server.data_dir, [server.pid]) == []
        return attack.kills
