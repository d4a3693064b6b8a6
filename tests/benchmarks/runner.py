"""The rounds: in each, every contestant of a family does its work in turn; what counts is the median."""

import statistics
import time
from collections.abc import Callable, Sequence

from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import AbsentError, Contestant, Family, Figures, Result

Tell = Callable[[str], None]
_WHY_CHARS = 3000


def run_family(family: Family, lab: Lab, rounds: int, tell: Tell) -> list[Result]:
    """Do the work of a family; a contestant that fails says why, and the others go on."""
    results = {row.key: Result(row, roles={one.name: one.role for one in family.contestants}) for row in family.rows}
    lost: dict[str, str] = {}
    for number in range(min(rounds, family.rounds_at_most)):
        for contestant in _in_turn(family.contestants, number):
            if contestant.name in lost:
                continue
            began = time.monotonic()
            found = _measure(contestant, family, lab)
            tell(f"{family.name}, round {number + 1}: {contestant.name}: {time.monotonic() - began:.1f} s")
            if isinstance(found, str):
                tell(f"  {found}")
                lost[contestant.name] = found
            else:
                _note(found, contestant.name, results)
    for result in results.values():
        _conclude(result, lost)
    return list(results.values())


def _in_turn(contestants: Sequence[Contestant], number: int) -> Sequence[Contestant]:
    """Let another one begin in each round: what the one before leaves behind on the machine hits all alike."""
    first = number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def _measure(contestant: Contestant, family: Family, lab: Lab) -> Figures | str:
    """Return the figures of one piece of work, or why there are none."""
    try:
        with lab.piece(family.limit_s) as piece:
            return contestant.run(piece)
    except AbsentError as error:
        return f"absent: {error}"[:_WHY_CHARS]
    except Exception as error:  # noqa: BLE001 - whatever one contestant does, the others go on
        return f"failed: {type(error).__name__}: {error}"[:_WHY_CHARS]


def _note(figures: Figures, name: str, results: dict[str, Result]) -> None:
    for key, value in figures.items():
        results[key].rounds.setdefault(name, []).append(value)


def _conclude(result: Result, lost: dict[str, str]) -> None:
    result.figures = {name: statistics.median(values) for name, values in result.rounds.items()}
    result.missing = {name: why for name, why in lost.items() if name not in result.figures}


def verdicts(result: Result) -> Sequence[bool | None]:
    """Return, for each must, whether it is reached; None where a figure is missing."""
    found = []
    for must in result.row.musts:
        value = result.measure(must.against)
        found.append(None if value is None else must.is_reached_by(value))
    return found
