"""From the database to the queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from service.queues.base import Share, Ticket
from service.queues.memory import MemoryQueue
from service.store.control import Staging
from service.store.jobs import Jobs
from service.store.records import Claim, Ready
from service.worker.stager import Stager
from tests.fakes import FakeClock
from tests.integration.stores import WORKER, Store, at

LANES = {"loop": [Share("t.one"), Share("t.two")], "child": [Share("t.child")]}
PROCESSORS = ["t.one", "t.two", "t.child"]
CAPACITY = 4


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(LANES, CAPACITY)


@pytest.fixture
def stager(store: Store, queue: MemoryQueue, clock: FakeClock) -> Stager:
    return Stager(store.jobs, queue, PROCESSORS, CAPACITY, clock)


@asynccontextmanager
async def feeding(stager: Stager) -> AsyncIterator[None]:
    """Feed the queue meanwhile; the end is awaited, so that nothing reads a database that is closed."""
    task = asyncio.create_task(stager.feed())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def take(queue: MemoryQueue, count: int, lane: str = "loop") -> list[str]:
    async with asyncio.timeout(60):
        return [(await queue.get(lane)).job_id for _ in range(count)]


async def test_at_the_start_all_that_is_ready_is_offered_in_its_lane(store, queue, stager):
    one, child, two = [await store.queued(processor=name) for name in ("t.one", "t.child", "t.two")]
    await store.queued(processor="t.elsewhere")
    await stager.tick()
    assert await take(queue, 2) == [one, two]
    assert await take(queue, 1, "child") == [child]
    assert queue.size("loop") == 0


async def test_a_job_is_offered_when_its_moment_has_come_and_not_before(store, queue, stager, clock):
    job_id = await store.queued(delay_s=10)
    await stager.tick()
    clock.advance(9.999)
    await stager.tick()
    assert queue.size("loop") == 0
    clock.advance(0.001)
    await stager.tick()
    assert await take(queue, 1) == [job_id]
    assert await store.jobs.claim(Claim(job_id, WORKER, clock.now())) is not None


async def test_however_many_are_due_all_are_made_ready(store, stager, clock, monkeypatch):
    monkeypatch.setattr("service.worker.stager._SLICE", 3)
    for _ in range(9):
        await store.queued(delay_s=10)
    clock.advance(10)
    await stager.tick()
    assert len(await store.jobs.list_ready(["t.one"], 100)) == 9
    assert await store.jobs.find_next_due() is None


async def test_the_longest_due_are_made_ready_first(store):
    late, early = await store.queued(delay_s=9), await store.queued(delay_s=5)
    assert await store.jobs.stage(Staging(at(10), 1)) == 1
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 10)] == [early]
    assert await store.jobs.stage(Staging(at(10), 10)) == 1
    assert late in [one.id for one in await store.jobs.list_ready(["t.one"], 10)]


async def test_a_job_that_was_never_offered_is_found_sooner_or_later(store, queue, stager):
    await stager.tick()
    job_id = await store.queued()  # and its ticket was lost
    for _ in range(20):
        await stager.tick()
    assert await take(queue, 1) == [job_id]


async def test_a_backlog_longer_than_the_queue_is_drained_whole_and_in_order(store, queue, stager):
    """The queue never holds more than it may, and what comes meanwhile takes its place in the order."""
    expected = [await store.queued() for _ in range(30)]
    won: list[str] = []
    async with feeding(stager):
        while len(won) < 30:
            (job_id,) = await take(queue, 1)
            assert queue.size("loop") <= CAPACITY
            if await store.jobs.claim(Claim(job_id, WORKER, at(1))):  # a ticket may come twice
                won.append(job_id)
    assert won == expected


async def test_an_urgent_job_overtakes_a_backlog_longer_than_the_queue(store, queue, stager):
    for _ in range(20):
        await store.queued()
    await stager.restock_all()
    urgent = await store.queued(priority=5)
    assert queue.offer(Ticket(urgent, 5, "t.one"))
    assert await take(queue, 1) == [urgent]


async def test_an_urgent_job_deep_in_the_backlog_is_offered_first(store, queue, stager):
    for _ in range(20):
        await store.queued()
    urgent = await store.queued(priority=5)
    await stager.restock_all()
    assert await take(queue, 1) == [urgent]


async def test_a_backlog_of_one_processor_however_long_hides_no_job_of_another(store, queue, stager):
    long = [await store.queued() for _ in range(3 * CAPACITY)]
    await store.queued(processor="t.elsewhere", priority=9)
    other = await store.queued(processor="t.two")
    await stager.restock_all()
    assert await take(queue, 2) == [long[0], other]


class Noting(Jobs):
    """Knows whose backlog was read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.database, store.writer, store.jobs._changes)
        self.read: list[list[str]] = []

    async def list_ready(self, processors: Sequence[str], limit: int) -> list[Ready]:
        self.read.append(list(processors))
        return await super().list_ready(processors, limit)


async def test_only_the_backlog_of_who_runs_low_is_read_again(store, queue, clock):
    jobs = Noting(store)
    for _ in range(CAPACITY + 1):
        await store.queued()
    async with feeding(Stager(jobs, queue, PROCESSORS, CAPACITY, clock)):
        for _ in range(CAPACITY + 1):
            (job_id,) = await take(queue, 1)
            assert await store.jobs.claim(Claim(job_id, WORKER, at(1)))
    assert jobs.read[0] == PROCESSORS
    assert {tuple(one) for one in jobs.read[1:]} == {("t.one",)}


async def test_a_backlog_whose_first_jobs_wait_to_be_claimed_is_not_read_without_a_pause(
    store, queue, clock, monkeypatch
):
    monkeypatch.setattr("service.worker.stager.PAUSE_S", 3600)
    jobs = Noting(store)
    for _ in range(2 * CAPACITY):
        await store.queued()
    async with feeding(Stager(jobs, queue, PROCESSORS, CAPACITY, clock)):
        await take(queue, CAPACITY)
        for _ in range(20):  # each takes longer than a read of the feed
            await store.jobs.list_ready(["t.one"], CAPACITY)
    assert len(jobs.read) <= 3


async def test_jobs_submitted_while_the_backlog_drains_are_neither_lost_nor_doubled(store, queue, stager):
    submitted: list[str] = []
    taken: list[str] = []

    async def submit() -> None:
        for _ in range(60):
            job_id = await store.queued()
            submitted.append(job_id)
            queue.offer(Ticket(job_id, 0, "t.one"))

    async def consume() -> None:
        while len(taken) < 60:
            (job_id,) = await take(queue, 1)
            if await store.jobs.claim(Claim(job_id, WORKER, at(1))):
                taken.append(job_id)

    async with feeding(stager):
        await asyncio.gather(submit(), consume())
    assert sorted(taken) == sorted(submitted)


class FailingOnce(Jobs):
    """Cannot be read at the first try."""

    tries = 0

    async def list_ready(self, processors: list[str], limit: int) -> list[Ready]:  # type: ignore[override]
        self.tries += 1
        if self.tries == 1:
            raise OperationalError("SELECT", {}, Exception("disk I/O error"))
        return await super().list_ready(processors, limit)


async def test_feeding_goes_on_after_the_database_could_not_be_read(store, queue, clock, monkeypatch):
    monkeypatch.setattr("service.worker.stager.TICK_S", 0)
    job_id = await store.queued()
    jobs = FailingOnce(store.database, store.writer, store.jobs._changes)
    with capture_logs() as lines:
        async with feeding(Stager(jobs, queue, PROCESSORS, CAPACITY, clock)):
            assert await take(queue, 1) == [job_id]
    assert [line["event"] for line in lines] == ["periodic duty failed"]
