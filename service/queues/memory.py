"""The queue of one process: in each lane a line for each processor, which take turns."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from service.queues.base import Share, Ticket
from service.queues.line import Line
from service.queues.turns import Turns


class MemoryQueue:
    """Keeps the first tickets of each processor in memory; the rest of a long backlog stays in the database.

    `lanes` says which processors share the places of a lane.
    """

    def __init__(self, lanes: Mapping[str, Iterable[Share]], capacity: int) -> None:
        self._hungry = asyncio.Event()
        self._lanes = {lane: _Lane(Line(share, capacity) for share in shares) for lane, shares in lanes.items()}
        self._lane_of = {name: lane for lane in self._lanes.values() for name in lane.lines}

    def offer(self, ticket: Ticket) -> bool:
        if (lane := self._lane_of.get(ticket.processor)) is None:  # it waits for a server that has it
            return False
        taken = lane.offer(ticket)
        self._look_at(lane.lines[ticket.processor])
        return taken

    def hand_over(self, ticket: Ticket) -> bool:
        lane = self._lane_of.get(ticket.processor)
        return lane is not None and lane.hand_over(ticket)

    async def get(self, lane: str) -> Ticket:
        ticket = await self._lanes[lane].next()
        self._look_at(self._lanes[lane].lines[ticket.processor])
        return ticket

    def free(self, ticket: Ticket) -> None:
        self._lane_of[ticket.processor].free(ticket)

    def done(self, ticket: Ticket) -> None:
        self._line(ticket.processor).done(ticket.job_id)

    def begin_restock(self, processors: Iterable[str]) -> Mapping[str, int]:
        return {processor: self._line(processor).begin_restock() for processor in processors}

    def restock(self, seen: Mapping[str, int], tickets: Iterable[Ticket], most: int) -> int:
        stock: dict[str, list[Ticket]] = {processor: [] for processor in seen}
        for ticket in tickets:
            stock[ticket.processor].append(ticket)
        new = 0
        for processor, first in stock.items():
            new += self._line(processor).restock(first, seen[processor], complete=len(first) < most)
        for lane in self._lanes.values():  # not before all are known: the most urgent may be the last of them
            lane.serve()
        return new

    async def wait_hungry(self) -> Sequence[str]:
        while not (hungry := [name for name in self._lane_of if self._line(name).is_hungry]):
            self._hungry.clear()
            await self._hungry.wait()
        return hungry

    def size(self, lane: str) -> int:
        """Return how many tickets wait in the lane."""
        return sum(len(line.entries) for line in self._lanes[lane].lines.values())

    def _line(self, processor: str) -> Line:
        return self._lane_of[processor].lines[processor]

    def _look_at(self, line: Line) -> None:
        if line.is_hungry:
            self._hungry.set()


class _Lane:
    """The lines of the processors that share a lane, and the consumers that wait for a ticket.

    Where a consumer waits, there is no ticket that it could have.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = {line.name: line for line in lines}
        self._turns: dict[int, Turns] = defaultdict(Turns)  # for each rank: one of another does not disturb it
        self._waiting: deque[asyncio.Future[Ticket]] = deque()

    def offer(self, ticket: Ticket) -> bool:
        """Take a newcomer if it is among the first of its processor."""
        taken = self.lines[ticket.processor].offer(ticket)
        self.serve()
        return taken

    def hand_over(self, ticket: Ticket) -> bool:
        """Take a newcomer only if a consumer takes it at once."""
        if not self._someone_waits() or not self.lines[ticket.processor].offer_at_once(ticket):
            return False
        self.serve()
        return True

    async def next(self) -> Ticket:
        """Return the next ticket, as soon as there is one."""
        if (line := self._first()) is not None:
            return line.take()
        waiting: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise

    def free(self, ticket: Ticket) -> None:
        """Let another job of the processor run."""
        self.lines[ticket.processor].free()
        self.serve()

    def serve(self) -> None:
        """Give the consumers that wait what there is."""
        while self._someone_waits() and (line := self._first()) is not None:
            self._waiting.popleft().set_result(line.take())

    def _first(self) -> Line | None:
        """Return the line whose turn it is; None when there is nothing to take."""
        ranks = {name: line.rank for name, line in self.lines.items() if line.entries and line.has_room}
        if not ranks:
            return None
        first = min(ranks.values())
        weights = {name: self.lines[name].weight for name, rank in ranks.items() if rank == first}
        return self.lines[self._turns[first].next(weights)]

    def _someone_waits(self) -> bool:
        while self._waiting and self._waiting[0].done():  # cancelled, and not yet told so
            _ = self._waiting.popleft()
        return bool(self._waiting)

    def _give_up(self, waiting: asyncio.Future[Ticket]) -> None:
        with suppress(ValueError):
            self._waiting.remove(waiting)
        if not waiting.cancelled():
            ticket = waiting.result()
            self.lines[ticket.processor].put_back(ticket)
            self.serve()
