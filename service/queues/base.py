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

    def hand_over(self, ticket: Ticket) -> bool:
        """Give a ticket to a consumer that waits for one at this moment; False when there is none.

        This may be done before the job is committed, so that it is claimed in the same commit; if that fails, the
        claim finds nothing. What is not handed over must be offered once it is committed.
        """
        ...

    async def get(self, lane: str) -> str:
        """Return the id of the next job of the lane, as soon as there is one; say `done` after its attempt."""
        ...

    def done(self, lane: str, job_id: str) -> None:
        """Forget a job that was handed out: until then it is not taken from the backlog again."""
        ...

    def begin_restock(self, lane: str) -> int:
        """Note that the lane's backlog is about to be read, and return what `restock` asks for."""
        ...

    def restock(self, lane: str, tickets: Sequence[Ticket], seen: int, *, complete: bool) -> None:
        """Take the first tickets of the lane's backlog; `seen` is of `begin_restock`, `complete` if that was all."""
        ...

    async def wait_hungry(self) -> Sequence[str]:
        """Return the lanes that have a backlog in the database and room again, as soon as there are any."""
        ...
