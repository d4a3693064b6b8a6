"""The consumers: how many, how they stop, what they outlive."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from service import lasting
from service.errors import DatabaseUnavailableError
from service.lasting import LastingTask
from service.queues.memory import MemoryQueue
from service.worker.executor import Executor
from service.worker.pool import Pool
from tests.contracts.job_queue import LANES, opened, ticket


class Work:
    """Stands for the executor: holds each job until the gate is opened, and fails where it is told to."""

    def __init__(self, gate_open: bool = True, **failures: Exception) -> None:  # noqa: FBT001, FBT002 - read in the tests
        self.begun: list[str] = []
        self.done: list[str] = []
        self.stopped: list[str] = []
        self.gate = asyncio.Event()
        self._failures = failures
        self._changed = asyncio.Condition()
        if gate_open:
            self.gate.set()

    async def execute(self, job_id: str, when_done: Callable[[], None]) -> None:  # noqa: ARG002
        await self._note(self.begun, job_id)
        if job_id in self._failures:
            raise self._failures[job_id]
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(job_id)
            raise
        await self._note(self.done, job_id)

    @property
    def running(self) -> int:
        return len(self.begun) - len(self.done)

    async def reach(self, what: list[str], count: int) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: len(what) >= count)

    async def _note(self, what: list[str], job_id: str) -> None:
        async with self._changed:
            what.append(job_id)
            self._changed.notify_all()


class Settling(Work):
    """Holds each job while its processor runs, and again while it is settled."""

    def __init__(self) -> None:
        super().__init__()
        self.finished: list[str] = []
        self.processed, self.settled = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def execute(self, job_id: str, when_done: Callable[[], None]) -> None:
        await self._note(self.begun, job_id)
        try:
            await self.processed.acquire()
            when_done()
            await self._note(self.finished, job_id)
            await self.settled.acquire()
        except asyncio.CancelledError:
            self.stopped.append(job_id)
            raise
        await self._note(self.done, job_id)


def pool_of(work: Any, queue: MemoryQueue, count: int = 2, grace_s: float = 5) -> Pool:
    return Pool({"loop": count, "child": 1}, queue, cast("Executor", work), grace_s)


@pytest.fixture
def queue() -> MemoryQueue:
    return cast("MemoryQueue", opened(MemoryQueue(LANES, 100)))


def offer(queue: MemoryQueue, *job_ids: str, processor: str = "t.one") -> None:
    for job_id in job_ids:
        queue.offer(ticket(job_id, processor=processor))


async def test_a_lane_runs_as_many_jobs_at_once_as_it_has_consumers(queue):
    work = Work(gate_open=False)
    async with pool_of(work, queue, 3):
        offer(queue, "a", "b", "c", "d", "e")
        offer(queue, "x", "y", processor="t.child")
        await work.reach(work.begun, 4)
        assert sorted(work.begun) == ["a", "b", "c", "x"]
        work.gate.set()
        await work.reach(work.done, 7)


async def test_the_next_job_begins_when_the_processor_is_done_and_not_when_the_job_is_settled(queue):
    work = Settling()
    async with pool_of(work, queue) as pool:
        offer(queue, "a", "b", "c", processor="t.child")
        await work.reach(work.begun, 1)
        assert pool.occupancy()["child"] == (1, 1)
        work.processed.release()
        await work.reach(work.begun, 2)
        assert work.done == []
        assert pool.occupancy()["child"] == (1, 1)
        work.processed.release()
        await work.reach(work.finished, 2)
        assert (work.begun, pool.occupancy()["child"]) == (["a", "b"], (0, 1))  # two that are not settled are enough
        work.settled.release()
        await work.reach(work.begun, 3)
        work.processed.release()
        work.settled.release()
        work.settled.release()
        await work.reach(work.done, 3)


async def test_at_the_end_of_the_grace_what_is_not_settled_is_put_back_too(queue):
    work = Settling()
    async with pool_of(work, queue, grace_s=0):
        offer(queue, "a", "b", processor="t.child")
        work.processed.release()
        await work.reach(work.begun, 2)
    assert sorted(work.stopped) == ["a", "b"]


async def test_a_consumer_outlives_whatever_a_job_does(queue):
    work = Work(a=DatabaseUnavailableError("no"), b=ValueError("boom"))
    with capture_logs() as lines:
        async with pool_of(work, queue, 1) as pool:
            offer(queue, "a", "b", "c")
            await work.reach(work.done, 1)
            assert pool.is_alive
    assert work.done == ["c"]
    assert [line["log_level"] for line in lines] == ["warning", "error"]


async def test_a_consumer_that_ends_is_replaced_and_that_is_told(queue, monkeypatch):
    monkeypatch.setattr(lasting, "PAUSE_S", 0)
    work = Work(gate_open=False)
    with capture_logs() as lines:
        async with asyncio.timeout(20), pool_of(work, queue, 2) as pool:
            offer(queue, "a")
            await work.reach(work.begun, 1)
            consumers = [task for task in asyncio.all_tasks() if task.get_name().startswith("consumer-")]
            for task in consumers:
                task.cancel()
            await asyncio.wait(consumers)
            assert not pool.is_alive
            work.gate.set()
            offer(queue, "b", "c")
            offer(queue, "x", processor="t.child")
            await work.reach(work.done, 3)
            assert (pool.is_alive, pool.missing(), pool.is_lost) == (True, {}, False)
    assert work.stopped == ["a"]
    assert sorted(line["task"] for line in lines) == ["consumer-child-0", "consumer-loop-0", "consumer-loop-1"]
    assert pool.occupancy() == {"loop": (0, 2), "child": (0, 1)}


async def test_a_lane_without_a_consumer_is_lost_when_none_can_be_begun(queue, monkeypatch):
    monkeypatch.setattr(LastingTask, "_begin_soon", lambda _task: None)
    async with pool_of(Work(), queue, 2) as pool:
        named = {task.get_name(): task for task in asyncio.all_tasks()}
        for number, (lost, missing) in enumerate([(False, {"loop": 1}), (True, {"loop": 2})]):
            task = named[f"consumer-loop-{number}"]
            task.cancel()
            await asyncio.wait([task])
            assert (pool.is_lost, pool.missing(), pool.is_alive) == (lost, missing, False)


async def test_at_the_end_what_runs_may_finish_and_what_waits_is_not_begun(queue):
    work = Work(gate_open=False)
    async with pool_of(work, queue, 1) as pool:
        offer(queue, "a", "b")
        await work.reach(work.begun, 1)
        pool.stop()
        assert not pool.is_alive
        work.gate.set()
    assert (work.begun, work.done, work.stopped) == (["a"], ["a"], [])
    assert queue.size("loop") == 1


async def test_what_does_not_finish_within_the_grace_is_stopped(queue):
    work = Work(gate_open=False)
    async with asyncio.timeout(60):
        async with pool_of(work, queue, 2, grace_s=0):
            offer(queue, "a", "b")
            await work.reach(work.begun, 2)
        assert sorted(work.stopped) == ["a", "b"]


async def test_a_pool_without_work_stops_at_once(queue):
    async with asyncio.timeout(60):
        async with pool_of(Work(), queue, 10, grace_s=3600) as pool:
            assert pool.is_alive


async def test_a_pool_that_is_stopped_before_it_began_begins_nothing(queue):
    work = Work()
    offer(queue, "a")
    async with asyncio.timeout(60), pool_of(work, queue) as pool:
        pool.stop()
    assert work.begun == []


async def test_a_job_at_the_limit_of_its_processor_is_not_begun_at_the_end_and_keeps_nobody_waiting(queue):
    work = Work(gate_open=False)
    async with pool_of(work, queue, 2, grace_s=0):
        offer(queue, "a", "b", processor="t.lonely")
        offer(queue, "c")
        await work.reach(work.begun, 2)
    assert (sorted(work.begun), queue.size("loop")) == (["a", "c"], 1)


async def test_when_a_place_is_free_a_processor_that_waits_has_its_turn_before_the_rest_of_a_backlog(queue):
    work = Settling()
    async with pool_of(work, queue, 1, grace_s=0):
        offer(queue, *(f"long{n}" for n in range(100)))
        await work.reach(work.begun, 1)
        offer(queue, "quick", processor="t.two")
        work.processed.release()
        work.settled.release()
        await work.reach(work.begun, 2)
        assert work.begun == ["long0", "quick"]


async def test_a_job_of_a_limited_processor_begins_when_the_one_before_it_is_done_and_not_yet_settled(queue):
    work = Settling()
    async with pool_of(work, queue, 3, grace_s=0):
        offer(queue, "a", "b", processor="t.lonely")
        await work.reach(work.begun, 1)
        work.processed.release()
        await work.reach(work.begun, 2)
        assert (work.begun, work.done) == (["a", "b"], [])


async def test_what_fails_gives_back_the_place_of_its_processor(queue):
    work = Work(a=DatabaseUnavailableError("no"), b=ValueError("boom"))
    with capture_logs():
        async with pool_of(work, queue, 2, grace_s=0):
            offer(queue, "a", "b", "c", processor="t.lonely")
            await work.reach(work.done, 1)
    assert (work.begun, work.done) == (["a", "b", "c"], ["c"])
