"""`python -m tests.chaos --minutes 30 [--seed S] [--only kills]`: attack, and say what was found.

The time is shared: all crash points once, then fuzz, a soak, and random kills until the end. A run with the same seed
makes the same choices; the moments at which two processes meet are theirs.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos import crash_points, fuzz, kills
from tests.chaos.sabotaged import run_sabotaged
from tests.chaos.soak import soak

SOAK_SHARE = 0.15
FUZZ_SHARE = 0.25
MOST_TIMES = 3


class Chaos:
    """One run: counts what was done, and gathers what was found wrong."""

    def __init__(self, seed: str, minutes: float, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.minutes = minutes
        self.deadline = time.monotonic() + minutes * 60
        self.kills = self.jobs = self.cases = 0
        self.wrong: list[str] = []

    def crash_points(self) -> None:
        """Kill at every point there is, the first to the third time that it is passed."""
        points = [*crash_points.SERVING, *crash_points.STARTING]
        random.Random(self.seed).shuffle(points)
        with run_sabotaged(self.folder / "points" / "data", job_max_attempts=1) as server:
            attack = crash_points.Attack(server, self.seed)
            for point in points:
                if not self._try(f"crash point {point}", lambda point=point: attack.kill_again(point, MOST_TIMES)):  # type: ignore[misc]
                    server.destroy()
                    server.start()
            self.kills += attack.kills
            self.jobs += len(attack.promises.accepted)
        say(f"crash points: {attack.kills} kills at {len(points)} points, {len(attack.promises.accepted)} jobs")

    def random_kills(self) -> None:
        """Kill at random moments until the time is up."""
        number = 0
        while time.monotonic() < self.deadline:
            number += 1
            seed = f"{self.seed}/{number}"
            done = kills.kill_round(self.folder / f"kills-{number}", seed)
            self.kills += done.kills
            self.jobs += done.jobs
            self.wrong += [f"random kills, seed {seed}: {one}" for one in done.wrong]
            say(
                f"random kills, seed {seed}: {done.kills} kills, {done.jobs} jobs, {done.requests_cut} requests cut, "
                f"{done.rescued} rescues, {len(done.wrong)} wrong"
            )

    def fuzz(self) -> None:
        """Send what the OpenAPI document allows, and what it does not."""
        found = fuzz.run_schemathesis(self.folder / "fuzz", self.seed, self.minutes * 60 * FUZZ_SHARE)
        self.cases += found.cases
        self.wrong += found.wrong
        say(f"fuzz: {found.cases} cases, {len(found.wrong)} wrong")

    def soak(self) -> None:
        """Look at what grows."""
        found = soak(self.folder / "soak", self.seed, self.minutes * SOAK_SHARE)
        self.jobs += found.jobs
        say(f"soak: {found.jobs} jobs\n{found.table()}")

    def run(self, name: str, attack: Callable[[], None]) -> None:
        say(f"--- {name}")
        self._try(name, attack)

    def _try(self, name: str, attack: Callable[[], object]) -> bool:
        try:
            attack()
        except Exception as error:  # noqa: BLE001 - the others still have their turn
            self.wrong.append(f"{name}: {type(error).__name__}: {error} {getattr(error, '__notes__', '')}")
            say(self.wrong[-1])
            return False
        return True


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the report


def main() -> int:
    """Run the attacks; return 1 if anything was found."""
    attacks = ("crash_points", "fuzz", "soak", "random_kills")
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", default=str(random.getrandbits(32)))
    parser.add_argument("--only", choices=attacks, nargs="*", default=attacks)
    given = parser.parse_args()
    say(f"repeat this run with --seed {given.seed}")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(given.seed, given.minutes, Path(folder).resolve())
        for name in attacks:
            if name in given.only:
                chaos.run(name, getattr(chaos, name))
    minutes = (time.monotonic() - start) / 60
    done = f"{chaos.kills} kills, {chaos.jobs} jobs, {chaos.cases} fuzz cases"
    say(f"--- {minutes:.1f} minutes, seed {given.seed}: {done}")
    say(f"{len(chaos.wrong)} wrong")
    say("\n".join(chaos.wrong))
    return int(bool(chaos.wrong))


if __name__ == "__main__":
    sys.exit(main())
