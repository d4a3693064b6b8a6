"""The queue of one process: a bounded `asyncio.Queue` for each lane."""

import asyncio
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from service.queues.base import Ticket

Entry = tuple[int, str]


class MemoryQueue:
    """Keeps the first tickets of each lane in memory; the rest of a long backlog stays in the database."""

    def __init__(self, lanes: Iterable[str], capacity: int) -> None:
        self._hungry = asyncio.Event()
        self._lanes = {lane: _LaneQueue(capacity) for lane in lanes}

    def offer(self, ticket: Ticket) -> bool:
        queue = self._lanes[ticket.lane]
        taken = queue.offer(_entry(ticket))
        if queue.is_hungry:
            self._hungry.set()
        return taken

    def hand_over(self, ticket: Ticket) -> bool:
        return self._lanes[ticket.lane].hand_over(_entry(ticket))

    async def get(self, lane: str) -> str:
        queue = self._lanes[lane]
        _, job_id = await queue.next()
        if queue.is_hungry:
            self._hungry.set()
        return job_id

    def done(self, lane: str, job_id: str) -> None:
        self._lanes[lane].done(job_id)

    def begin_restock(self, lane: str) -> int:
        return self._lanes[lane].begin_restock()

    def restock(self, lane: str, tickets: Sequence[Ticket], seen: int, *, complete: bool) -> None:
        self._lanes[lane].restock(map(_entry, tickets), seen, complete=complete)

    async def wait_hungry(self) -> Sequence[str]:
        while not (hungry := [name for name, lane in self._lanes.items() if lane.is_hungry]):
            self._hungry.clear()
            await self._hungry.wait()
        return hungry

    def size(self, lane: str) -> int:
        """Return how many tickets wait in the lane."""
        return self._lanes[lane].qsize()


class _LaneQueue(asyncio.Queue[Entry]):
    """A bounded priority queue without doubles.

    While `overflow` is set, the database holds ready jobs that are not here: a newcomer may then only come in
    ahead of the last one here, or it would overtake what waits outside. The three underscored methods are those
    that `asyncio.Queue` leaves to its subclasses.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        # after a start the database may hold any number
        self.overflow = True
        self.refusals = 0
        self._hands = 0  # consumers that wait, or have not yet taken what they were woken for
        self._taken: set[str] = set()  # handed out, and not done
        self._gone: set[str] | None = None  # done while the backlog is read, which may still show them

    @property
    def is_hungry(self) -> bool:
        """Whether there is a backlog outside, and room for some of it."""
        return self.overflow and self.qsize() <= self.maxsize // 2

    def offer(self, entry: Entry) -> bool:
        """Take a newcomer if its turn is among those here."""
        if entry in self._present:
            return True
        if (self.overflow or self.full()) and not (self._entries and entry < self._entries[-1]):
            self.overflow = True
            self.refusals += 1
            return False
        if self.full():
            self._drop_after(self.maxsize - 1)
        self.put_nowait(entry)
        return True

    def hand_over(self, entry: Entry) -> bool:
        """Take a newcomer only if a consumer takes it at once."""
        if self.overflow or self.full() or self.qsize() >= self._hands or entry in self._present:
            return False
        self.put_nowait(entry)
        return True

    async def next(self) -> Entry:
        """Return the first entry, as soon as there is one."""
        self._hands += 1
        try:
            return await self.get()
        finally:
            self._hands -= 1

    def begin_restock(self) -> int:
        """Note that the backlog is about to be read."""
        self._gone = set()
        return self.refusals

    def restock(self, entries: Iterable[Entry], seen: int, *, complete: bool) -> None:
        """Take what was read of the backlog; what comes last, and has no room, goes back to the database."""
        over = self._taken | (self._gone or set())
        self._gone = None
        self.overflow = not complete or self.refusals != seen
        new = {entry for entry in entries if entry[1] not in over} - self._present
        first = sorted(new.union(self._entries))[: self.maxsize]
        if first:
            self._drop_after(bisect_right(self._entries, first[-1]))
            for entry in first:
                if entry not in self._present:
                    self.put_nowait(entry)
        self.overflow = self.overflow or not new <= self._present

    def done(self, job_id: str) -> None:
        """Forget what was handed out."""
        self._taken.discard(job_id)
        if self._gone is not None:
            self._gone.add(job_id)

    def _drop_after(self, count: int) -> None:
        """Keep the first `count`; the rest goes back to the database."""
        dropped = self._entries[count:]
        if dropped:
            del self._entries[count:]
            self._present.difference_update(dropped)
            self.overflow = True

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 - asyncio.Queue passes it
        self._entries: list[Entry] = []  # in order: what `put` and `get` cost is one move in memory
        self._present: set[Entry] = set()
        self._queue = self._entries  # what `qsize` counts

    def _put(self, item: Entry) -> None:
        insort(self._entries, item)
        self._present.add(item)

    def _get(self) -> Entry:
        entry = self._entries.pop(0)
        self._present.discard(entry)
        self._taken.add(entry[1])
        return entry


def _entry(ticket: Ticket) -> Entry:
    return -ticket.priority, ticket.job_id
