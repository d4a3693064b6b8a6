"""What a benchmark is made of: families of rows, the contestants that do the work, and what must be reached."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.benchmarks.lab import Piece

OURS = "Filemill"
Role = Literal["ours", "peer", "beside"]
Figures = Mapping[str, float]


class Scale(enum.StrEnum):
    """How much work: `full` for the record, `quick` for about two minutes, `tiny` only to see that it runs."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"

    def pick(self, full: int, quick: int, tiny: int) -> int:
        """Return the amount of work for this scale."""
        return {Scale.FULL: full, Scale.QUICK: quick, Scale.TINY: tiny}[self]


class AbsentError(Exception):
    """A contestant cannot take part on this machine; the message says why."""


class PieceError(Exception):
    """A piece of work went wrong; the message says how."""


@dataclass(frozen=True, slots=True)
class Must:
    """What a row must reach: a bound on Filemill's figure, or on its ratio to another's.

    `against` is the name of a contestant, `peers` for the best of them, or empty for the figure itself.
    """

    against: str = ""
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def is_reached_by(self, value: float) -> bool:
        """Whether the figure, or the ratio, is good enough."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `against` names what the ratio is to, where no must says it."""

    key: str
    work: str
    unit: str
    better: Literal["more", "less"]
    musts: tuple[Must, ...] = ()
    against: str = "peers"


@dataclass(frozen=True, slots=True)
class Contestant:
    """Who does the work: `run` does it once, and returns a figure for each row that it knows of."""

    name: str
    role: Role
    run: Callable[["Piece"], Figures]


@dataclass(frozen=True, slots=True)
class Family:
    """Rows that come of the same work. A piece of work that takes longer than `limit_s` is given up."""

    name: str
    about: str
    rows: tuple[Row, ...]
    contestants: tuple[Contestant, ...]
    limit_s: float = 600
    rounds_at_most: int = 100


@dataclass(slots=True)
class Result:
    """A row with the median of each contestant; `missing` says why others have no figure."""

    row: Row
    figures: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> float | None:
        """Filemill's median."""
        return self.figures.get(OURS)

    def rival(self, against: str) -> str | None:
        """Return the contestant that is meant, if it has a figure."""
        if against != "peers":
            return against if against in self.figures else None
        peers = {name: value for name, value in self.figures.items() if self.roles[name] == "peer"}
        if not peers:
            return None
        return max(peers, key=peers.__getitem__) if self.row.better == "more" else min(peers, key=peers.__getitem__)

    def measure(self, against: str) -> float | None:
        """Return Filemill's figure, or its ratio to a rival; None where one of them is missing."""
        if self.ours is None or not against:
            return self.ours
        rival = self.rival(against)
        return None if rival is None or not self.figures[rival] else self.ours / self.figures[rival]
