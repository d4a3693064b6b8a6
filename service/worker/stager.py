"""From the database to the queue: whatever is ready gets its ticket, at the start and ever after."""

import asyncio
from collections.abc import Sequence

from service.clock import Clock
from service.queues.base import JobQueue, Ticket
from service.store.control import Staging
from service.store.jobs import Jobs
from service.worker.periodic import every

TICK_S = 0.25
PAUSE_S = 0.02
STANDING_S = 3.0
_SLICE = 1000
_TICKS_BETWEEN_LOOKS = 20


class Stager:
    """Feeds the queue with the jobs of these processors; `capacity` is what the queue holds of one.

    Jobs that the worker died under `one_from` times in a row, or more often, are fed to it one at a time, and not
    before it stands for `STANDING_S` seconds: one that is killed again and again does not use up their last chances.
    """

    def __init__(
        self,
        jobs: Jobs,
        queue: JobQueue,
        processors: Sequence[str],
        capacity: int,
        clock: Clock,
        *,
        one_from: int | None = None,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._processors = tuple(processors)
        self._capacity = capacity
        self._clock = clock
        self._one_from = one_from
        self._standing_at = clock.monotonic() + STANDING_S
        self._ticks = 0

    async def tick(self) -> None:
        """Make ready what is due, and now and then look for what was never offered."""
        staged = await self._stage_due()
        if staged or self._ticks % _TICKS_BETWEEN_LOOKS == 0:
            await self.restock_all()
        self._ticks += 1

    async def feed(self) -> None:
        """Refill each line of jobs whenever it runs low, for ever; a database that cannot be read is asked again."""
        await every(TICK_S, self._feed)

    async def restock_all(self) -> None:
        """Offer the first of every processor's backlog."""
        await self._restock(self._processors)

    async def _feed(self) -> None:
        while True:
            if not await self._restock(await self._queue.wait_hungry()):
                await asyncio.sleep(PAUSE_S)  # what it read was handed out before, and waits to be claimed

    async def _stage_due(self) -> bool:
        staging = self._staging()
        if not await self._jobs.is_anything_due(staging):
            return False
        staged = count = await self._jobs.stage(staging)
        while count >= _SLICE:
            count = await self._jobs.stage(staging)
        return staged > 0

    def _staging(self) -> Staging:
        is_standing = self._clock.monotonic() >= self._standing_at
        with_turns = self._processors if is_standing else ()
        return Staging(self._clock.now(), _SLICE, self._one_from, with_turns)

    async def _restock(self, processors: Sequence[str]) -> bool:
        """Read the backlog of each: how long that of one is makes no difference to another.

        Return whether that came to anything: new tickets, or the end of a backlog.
        """
        seen = self._queue.begin_restock(processors)
        ready = await self._jobs.list_ready(processors, self._capacity)
        tickets = [Ticket(one.id, one.priority, one.processor) for one in ready]
        return self._queue.restock(seen, tickets, self._capacity) > 0 or len(ready) < self._capacity
