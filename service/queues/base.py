"""Which job next: a queue of hints.

The row in the database is the truth. A ticket that is lost, doubled or late does no harm: the claim decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ticket:
    """A hint that a job is ready; `lane` is the group of consumers that can run it."""

    job_id: str
    priority: int
    lane: str


class JobQueue(Protocol):
    """Hands tickets to consumers, the highest priority first, and the oldest first within one."""

    def offer(self, ticket: Ticket) -> bool:
        """Take a ticket; False when it has to wait in the database, behind or beyond what fits."""
        ...

    async def get(self, lane: str) -> str:
        """Return the id of the next job of the lane, as soon as there is one."""
        ...

    def restock(self, lane: str, tickets: Sequence[Ticket], seen: int, *, complete: bool) -> None:
        """Take the first tickets of the lane's backlog, read after `seen` was noted; `complete` if that was all."""
        ...

    def refused(self, lane: str) -> int:
        """Return how many offers the lane refused so far, to be noted before the backlog is read."""
        ...

    async def wait_hungry(self) -> Sequence[str]:
        """Return the lanes that have a backlog in the database and room again, as soon as there are any."""
        ...
