"""The line of one processor: its first ready jobs, and how many of its jobs run."""

import math
from bisect import insort
from collections.abc import Iterable

from service.queues.base import Share, Ticket

Entry = tuple[int, str]


class Line:
    """At most `capacity` tickets of one processor, in order and without doubles.

    While `overflow` is set, the database holds ready jobs that are not here: a newcomer may then only come in
    ahead of the last one here, or it would overtake what waits outside.
    """

    def __init__(self, share: Share, capacity: int) -> None:
        self.name = share.processor
        self.weight = share.weight
        # after a start the database may hold any number
        self.overflow = True
        self.refusals = 0
        self.entries: list[Entry] = []  # in order: what a ticket costs is one move in memory
        self._capacity = capacity
        self._limit = math.inf if share.max_concurrency is None else share.max_concurrency
        self._running = 0
        self._present: set[Entry] = set()
        self._taken: set[str] = set()  # handed out, and not done
        self._gone: set[str] | None = None  # done while the backlog is read, which may still show them

    @property
    def rank(self) -> int:
        """That of its first ticket: the lowest is the most urgent."""
        return self.entries[0][0]

    @property
    def has_room(self) -> bool:
        """Whether one more of its jobs may run."""
        return self._running < self._limit

    @property
    def is_hungry(self) -> bool:
        """Whether there is a backlog outside, and room for some of it."""
        return self.overflow and len(self.entries) <= self._capacity // 2

    def offer(self, ticket: Ticket) -> bool:
        """Take a newcomer if its turn is among those here."""
        entry = _entry(ticket)
        if entry in self._present:
            return True
        is_full = len(self.entries) >= self._capacity
        if (self.overflow or is_full) and not (self.entries and entry < self.entries[-1]):
            self.overflow = True
            self.refusals += 1
            return False
        self._put(entry)
        return True

    def offer_at_once(self, ticket: Ticket) -> bool:
        """Take a newcomer only if nothing is ahead of it."""
        if self.overflow or self.entries or not self.has_room:
            return False
        self._put(_entry(ticket))
        return True

    def take(self) -> Ticket:
        """Hand out the first one."""
        entry = self.entries.pop(0)
        self._present.discard(entry)
        self._taken.add(entry[1])
        self._running += 1
        return Ticket(entry[1], -entry[0], self.name)

    def put_back(self, ticket: Ticket) -> None:
        """Take what nobody came to fetch, as if it had never been handed out."""
        self.free()
        self._taken.discard(ticket.job_id)
        self._put(_entry(ticket))

    def free(self) -> None:
        """Let another one run."""
        self._running -= 1

    def done(self, job_id: str) -> None:
        """Forget what was handed out."""
        self._taken.discard(job_id)
        if self._gone is not None:
            self._gone.add(job_id)

    def begin_restock(self) -> int:
        """Note that the backlog is about to be read."""
        self._gone = set()
        return self.refusals

    def restock(self, tickets: Iterable[Ticket], seen: int, *, complete: bool) -> int:
        """Take what was read of the backlog, and return how many are new; the last may find no room, and go back."""
        over = self._taken | (self._gone or set())
        self._gone = None
        self.overflow = not complete or self.refusals != seen
        new = {_entry(ticket) for ticket in tickets if ticket.job_id not in over} - self._present
        self.entries = sorted(new.union(self.entries))
        self._present |= new
        self._trim()
        return len(new)

    def _put(self, entry: Entry) -> None:
        if entry not in self._present:
            insort(self.entries, entry)
            self._present.add(entry)
            self._trim()

    def _trim(self) -> None:
        """Keep what fits; the rest goes back to the database."""
        if dropped := self.entries[self._capacity :]:
            del self.entries[self._capacity :]
            self._present.difference_update(dropped)
            self.overflow = True


def _entry(ticket: Ticket) -> Entry:
    return -ticket.priority, ticket.job_id
