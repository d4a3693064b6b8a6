"""The consumers: coroutines that take jobs from the queue, a fixed number for each lane."""

import asyncio
from collections.abc import Mapping
from typing import Self

import structlog

from service.errors import FilemillError
from service.queues.base import JobQueue
from service.worker.executor import Executor

log = structlog.get_logger()


class Pool:
    """Runs `consumers[lane]` consumers for each lane. Use as `async with`; leaving it drains."""

    def __init__(self, consumers: Mapping[str, int], queue: JobQueue, executor: Executor, grace_s: float) -> None:
        self._consumers = consumers
        self._queue = queue
        self._executor = executor
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._idle: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for lane, count in self._consumers.items():
            for number in range(count):
                self._tasks.add(asyncio.create_task(self._consume(lane), name=f"consumer-{lane}-{number}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more; let what runs finish within the grace; put the rest back."""
        self.stop()
        late = (await asyncio.wait(self._tasks, timeout=self._grace_s))[1]
        if late:
            log.info("putting back what runs", jobs=len(late))
            for task in late:
                task.cancel()
            await asyncio.wait(late)

    @property
    def is_alive(self) -> bool:
        """Whether every consumer is at work."""
        return not self._stopping.is_set() and not any(task.done() for task in self._tasks)

    def stop(self) -> None:
        """Claim no more jobs from now on."""
        self._stopping.set()
        for task in self._idle:
            task.cancel()

    async def _consume(self, lane: str) -> None:
        while not self._stopping.is_set():
            job_id = await self._next(lane)
            try:
                await self._executor.execute(job_id)
            except FilemillError as error:
                log.warning("job left to the stager", job_id=job_id, error=error.detail)
            except Exception:
                log.exception("executor failed", job_id=job_id)

    async def _next(self, lane: str) -> str:
        """Wait for a job; only here may a consumer be stopped at once."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task
        self._idle.add(task)
        try:
            return await self._queue.get(lane)
        finally:
            self._idle.discard(task)
