"""Which job next: a queue of hints.

The row in the database is the truth. A ticket that is lost, doubled or late does no harm: the claim decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ticket:
    """A hint that a job is ready."""

    job_id: str
    priority: int
    processor: str


@dataclass(frozen=True, slots=True)
class Share:
    """What a processor has of its lane: `weight` turns where another has one, and only so many jobs at once."""

    processor: str
    weight: int = 1
    max_concurrency: int | None = None


class JobQueue(Protocol):
    """Hands tickets to the consumers of a lane, the highest priority first.

    Of one priority, the processors that have something ready take turns by their weights, so that none is held up by
    how much another has; of one processor, the oldest job is first. A processor whose `max_concurrency` is reached is
    passed over.
    """

    def offer(self, ticket: Ticket) -> bool:
        """Take a ticket; False when it has to wait in the database, behind or beyond what fits."""
        ...

    def hand_over(self, ticket: Ticket) -> bool:
        """Give a ticket to a consumer that waits for one at this moment; False when there is none.

        This may be done before the job is committed, so that it is claimed in the same commit; if that fails, the
        claim finds nothing. What is not handed over must be offered once it is committed.
        """
        ...

    async def get(self, lane: str) -> Ticket:
        """Return the next ticket of the lane, as soon as there is one; say `free` and `done` once each after it."""
        ...

    def free(self, ticket: Ticket) -> None:
        """Let another job of the processor run: it is done with the one that was handed out."""
        ...

    def done(self, ticket: Ticket) -> None:
        """Forget a job that was handed out: until then it is not taken from the backlog again."""
        ...

    def begin_restock(self, processors: Iterable[str]) -> Mapping[str, int]:
        """Note that the backlogs of these processors are about to be read, and return what `restock` asks for."""
        ...

    def restock(self, seen: Mapping[str, int], tickets: Iterable[Ticket], most: int) -> int:
        """Take the first tickets of these backlogs, up to `most` of each processor; `seen` is of `begin_restock`.

        Return how many of them are new here.
        """
        ...

    async def wait_hungry(self) -> Sequence[str]:
        """Return the processors that have a backlog in the database and room again, as soon as there are any."""
        ...
