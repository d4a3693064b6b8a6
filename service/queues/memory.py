"""The queue of one process: a bounded `asyncio.Queue` for each lane."""

import asyncio
import heapq
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

    async def get(self, lane: str) -> str:
        queue = self._lanes[lane]
        _, job_id = await queue.get()
        if queue.is_hungry:
            self._hungry.set()
        return job_id

    def restock(self, lane: str, tickets: Sequence[Ticket], seen: int, *, complete: bool) -> None:
        queue = self._lanes[lane]
        queue.overflow = not complete or queue.refusals != seen
        for ticket in tickets:
            queue.push(_entry(ticket))

    def refused(self, lane: str) -> int:
        return self._lanes[lane].refusals

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

    @property
    def is_hungry(self) -> bool:
        """Whether there is a backlog outside, and room for some of it."""
        return self.overflow and self.qsize() <= self.maxsize // 2

    def offer(self, entry: Entry) -> bool:
        """Take a newcomer if its turn is among those here."""
        if entry in self._present:
            return True
        if (self.overflow or self.full()) and not self._is_ahead(entry):
            self.overflow = True
            self.refusals += 1
            return False
        self.push(entry)
        return True

    def push(self, entry: Entry) -> None:
        """Take an entry; when there is no room, the last one here goes back to the database."""
        if entry in self._present:
            return
        if self.full():
            self._drop(max(self._heap))
        self.put_nowait(entry)

    def _is_ahead(self, entry: Entry) -> bool:
        return bool(self._heap) and entry < max(self._heap)

    def _drop(self, entry: Entry) -> None:
        self._heap.remove(entry)
        heapq.heapify(self._heap)
        self._present.discard(entry)
        self.overflow = True

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 - asyncio.Queue passes it
        self._heap: list[Entry] = []
        self._present: set[Entry] = set()
        self._queue = self._heap  # what `qsize` counts

    def _put(self, item: Entry) -> None:
        heapq.heappush(self._heap, item)
        self._present.add(item)

    def _get(self) -> Entry:
        entry = heapq.heappop(self._heap)
        self._present.discard(entry)
        return entry


def _entry(ticket: Ticket) -> Entry:
    return -ticket.priority, ticket.job_id
