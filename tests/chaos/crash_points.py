"""kill -9 at every step of a job's life, and a look at what is left after each."""

import random
from collections.abc import Iterable

import httpx

from tests.acceptance.invariants import require_sound
from tests.chaos.sabotaged import SabotagedServer
from tests.chaos.saboteur import FILE_STATEMENTS, JOB_STATEMENTS
from tests.chaos.workload import Client, Promises

# nobody releases or rescues while it serves; they have their turn at a start
_AT_START = ("rescue_jobs",)
_AT_STOP = ("release_jobs",)
_SELDOM = (*_AT_START, *_AT_STOP, "advance_jobs", "stage_jobs")
_DISK = ("write", "fsync", "rename", "folder_fsync", "output", "unlink", "attempt")

SERVING = [
    *(f"{name}.{when}" for name in _DISK for when in ("before", "after")),
    *(
        f"{name}.{when}"
        for name in (*JOB_STATEMENTS, *FILE_STATEMENTS)
        if name not in _SELDOM
        for when in ("before", "after", "committed")
    ),
]
STARTING = [
    "migrate.before", "migrate.after", "rescue_jobs.before", "rescue_jobs.after", "rescue_jobs.committed",
    "sweep.before", "sweep.after",
]  # fmt: skip

# of two points with nothing between them, one: after a write is before the fsync
STEPS = [
    "write.before", "fsync.before", "rename.before", "folder_fsync.before", "add_jobs.after", "add_jobs.committed",
    "claim_jobs.committed", "output.before", "output.after", "settle_jobs.after", "settle_jobs.committed",
    "delete_jobs.committed", "unlink.after",
]  # fmt: skip


class Attack:
    """Kills one server at one point after the other, on one folder."""

    def __init__(self, server: SabotagedServer, seed: str) -> None:
        self.server = server
        self.promises = Promises()
        self.kills = 0
        self._rng = random.Random(seed)

    def kill_at(self, point: str, times: int = 1) -> None:
        """Do everything that can be done until it dies there, start it again, and look."""
        if point in STARTING:
            self._kill_at_start(point)
        else:
            self._kill_in_service(point, times)
        self.kills += 1
        self.server.start()
        self.look(point)

    def kill_again(self, point: str, most: int) -> None:
        """Kill at the first to the `most`-th time that the point is passed."""
        self.kill_at(point, 1 if point in STARTING else self._rng.randint(1, most))

    def look(self, after: str = "") -> None:
        """Fail unless all is well."""
        try:
            require_sound(self.server.url, self.server.data_dir, self.promises.kept, deleted=self.promises.deleted)
        except AssertionError as error:
            error.add_note(f"after a kill at {after}")
            raise

    def _kill_in_service(self, point: str, times: int) -> None:
        self.server.order(kill=[point, times])
        try:
            for _ in range(times):
                self._client().do_all()
        except httpx.TransportError:
            self.server.require_killed()
        else:
            raise AssertionError(f"{point} was not reached {times} times: {self.server.order()}")

    def _kill_at_start(self, point: str) -> None:
        """Let it die in the middle of work, and then in its next start."""
        self._kill_in_service("attempt.before", 1)
        self.server.spawn_with(kill=[point, 1])
        self.server.require_killed()

    def _client(self) -> Client:
        return Client(self.server.url, self.promises, self._rng)


def attack_all(server: SabotagedServer, points: Iterable[str], seed: str, most: int = 1) -> Attack:
    """Kill at each of the points, the first to the `most`-th time that it is passed."""
    attack = Attack(server, seed)
    for point in points:
        attack.kill_again(point, most)
    return attack
