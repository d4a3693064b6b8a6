"""The consumers: coroutines that take jobs from the queue, a fixed number for each lane."""

import asyncio
import functools
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

import structlog

from service.errors import FilemillError
from service.lasting import LastingTask
from service.queues.base import JobQueue, Ticket
from service.worker.executor import Executor

log = structlog.get_logger()

_PAUSE_S = 1.0
_ON_LOOP = "loop"


class Pool:
    """Runs `consumers[lane]` consumers for each lane. Use as `async with`; leaving it drains.

    Each consumer is a place. It is free when the processor is done: a child has its next job while the outputs of the
    last one are made durable. Which job gets it is for the queue to say.

    A consumer that ends in any way is replaced: see `LastingTask`.
    """

    def __init__(self, consumers: Mapping[str, int], queue: JobQueue, executor: Executor, grace_s: float) -> None:
        self._consumers = consumers
        self._busy: Counter[str] = Counter()
        self._queue = queue
        self._executor = executor
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._deadline_s = 0.0  # on the loop's clock; known once it stops
        self._late = asyncio.Event()
        self._idle: set[asyncio.Task[None]] = set()
        self._crew: dict[str, list[LastingTask]] = {}
        self._jobs: set[asyncio.Task[None]] = set()  # those of child lanes: a consumer does not wait for their end

    async def __aenter__(self) -> Self:
        for lane, count in self._consumers.items():
            work = functools.partial(self._consume, lane)
            names = [f"consumer-{lane}-{number}" for number in range(count)]
            self._crew[lane] = [LastingTask(work, name, self._stopping.is_set) for name in names]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more; let what runs finish within the grace; put the rest back."""
        self.stop()
        if late := await self._wait_out_the_grace():
            log.info("putting back what runs", jobs=self._executor.running)
            for task in late:
                task.cancel()
            await asyncio.wait(late)
        for one in self._all():
            one.stop()

    @property
    def is_alive(self) -> bool:
        """Whether every consumer is at work."""
        return not self._stopping.is_set() and not self.missing()

    @property
    def is_lost(self) -> bool:
        """Whether a lane has no consumer left, and there will be none."""
        return not self._stopping.is_set() and any(all(one.is_lost for one in crew) for crew in self._crew.values())

    def missing(self) -> dict[str, int]:
        """Return how many consumers of each lane are not at work, where there are any."""
        counts = {lane: sum(not one.is_running for one in crew) for lane, crew in self._crew.items()}
        return {lane: count for lane, count in counts.items() if count}

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Claim no more jobs from now on; the grace begins."""
        if not self._stopping.is_set():
            self._deadline_s = asyncio.get_running_loop().time() + self._grace_s
        self._stopping.set()
        for task in self._idle:
            task.cancel()

    def hurry(self) -> None:
        """End the grace now."""
        self._late.set()

    async def _wait_out_the_grace(self) -> set[asyncio.Task[None]]:
        """Return what is still at work when the grace is over."""
        late = asyncio.create_task(self._late.wait())
        tasks = {one.task for one in self._all()} | self._jobs
        ends: list[asyncio.Future[Any]] = [asyncio.gather(*tasks, return_exceptions=True), late]
        left_s = max(0.0, self._deadline_s - asyncio.get_running_loop().time())
        await asyncio.wait(ends, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        late.cancel()
        return {task for task in tasks | self._jobs if not task.done()}

    def _all(self) -> list[LastingTask]:
        return [one for crew in self._crew.values() for one in crew]

    def occupancy(self) -> dict[str, tuple[int, int]]:
        """Return how many jobs run in each lane, and how many could."""
        return {lane: (self._busy[lane], count) for lane, count in self._consumers.items()}

    async def _consume(self, lane: str) -> None:
        """Run one job after the other; of those whose processor is done, one may still be on its way to its end."""
        before: asyncio.Task[None] | None = None
        while not self._stopping.is_set():
            ticket = await self._next(lane)
            place = _Place(ticket, self._queue, self._busy, lane)
            if lane == _ON_LOOP:  # these have places enough
                await self._execute(ticket, place)
                continue
            job = asyncio.create_task(self._execute(ticket, place))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)
            await place.freed.wait()
            if before is not None:
                await asyncio.wait([before])
            before = job

    async def _execute(self, ticket: Ticket, place: "_Place") -> None:
        try:
            await self._executor.execute(ticket.job_id, place.free)
        except FilemillError as error:
            log.warning("job left to the stager", job_id=ticket.job_id, error=error.detail)
            await self._pause()  # what refuses one claim would refuse the next, and the queue is refilled at once
        except Exception:
            log.exception("executor failed", job_id=ticket.job_id)
        finally:
            place.free()
            self._queue.done(ticket)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await self._stopping.wait()

    async def _next(self, lane: str) -> Ticket:
        """Wait for a job; only here may a consumer be stopped at once."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task
        self._idle.add(task)
        try:
            return await self._queue.get(lane)
        finally:
            self._idle.discard(task)


class _Place:
    """A place that a job has taken."""

    def __init__(self, ticket: Ticket, queue: JobQueue, busy: Counter[str], lane: str) -> None:
        self._ticket = ticket
        self._queue = queue
        self._busy = busy
        self._lane = lane
        self.freed = asyncio.Event()
        busy[lane] += 1

    def free(self) -> None:
        """Give it back, once."""
        if not self.freed.is_set():
            self.freed.set()
            self._busy[self._lane] -= 1
            self._queue.free(self._ticket)
