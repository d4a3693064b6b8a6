"""The queue of one process: the contract, and its bound."""

import asyncio
import random

import pytest

from service.queues.base import JobQueue, Ticket
from service.queues.memory import MemoryQueue
from tests.contracts.job_queue import (
    CAPACITY,
    LANES,
    JobQueueContract,
    end,
    opened,
    restock,
    take,
    take_tickets,
    ticket,
)


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(LANES, CAPACITY)


class TestMemoryQueue(JobQueueContract):
    @pytest.fixture
    async def queue(self) -> JobQueue:
        return MemoryQueue(LANES, CAPACITY)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_lane_holds_more_than_fits_and_none_holds_a_double(seed):
    rng = random.Random(seed)
    queue = MemoryQueue(LANES, CAPACITY)
    for step in range(300):
        job = ticket(f"{rng.randrange(30):02}", rng.choice([-1, 0, 1]))
        match rng.randrange(3):
            case 0:
                queue.offer(job)
            case 1:
                restock(queue, job, complete=rng.random() < 0.5)
            case _ if queue.size("loop"):
                await take(queue, 1)
        assert queue.size("loop") <= CAPACITY, step
    entries = queue._lanes["loop"].lines["t.one"].entries
    assert len(entries) == len(set(entries)) == queue.size("loop")


async def test_a_queue_of_one_still_hands_out_everything_in_order():
    queue = MemoryQueue(LANES, 1)
    opened(queue)
    assert queue.offer(ticket("b"))
    assert queue.offer(ticket("a"))  # comes sooner: "b" goes back
    assert not queue.offer(ticket("c"))
    assert await take(queue, 1) == ["a"]
    assert list(await queue.wait_hungry()) == ["t.one"]
    restock(queue, ticket("b"), complete=False)
    assert await take(queue, 1) == ["b"]


async def test_each_processor_has_its_own_bound():
    queue = MemoryQueue(LANES, CAPACITY)
    opened(queue)
    for n in range(10):
        for processor in ("t.one", "t.two", "t.child"):
            queue.offer(ticket(f"{n}", processor=processor))
    assert (queue.size("loop"), queue.size("child")) == (2 * CAPACITY, CAPACITY)


class Consumers:
    """Come, give up, and end what they were given, as a seed has it."""

    def __init__(self, queue: MemoryQueue, rng: random.Random) -> None:
        self._queue = queue
        self._rng = rng
        self._waiting: list[asyncio.Task[Ticket]] = []
        self.running: list[Ticket] = []
        self.given: list[str] = []

    def act(self) -> None:
        """Do one thing."""
        match self._rng.randrange(3):
            case 0:
                self._waiting.append(asyncio.create_task(self._queue.get("loop")))
            case 1 if self._waiting:
                self._rng.choice(self._waiting).cancel()
            case 2 if self.running:
                end(self._queue, self.running.pop(self._rng.randrange(len(self.running))))

    def look(self) -> None:
        """See who was given something."""
        for one in [one for one in self._waiting if one.done()]:
            self._waiting.remove(one)
            if not one.cancelled():
                self.running.append(one.result())
                self.given.append(one.result().job_id)

    async def finish(self) -> None:
        """Give up, and end all."""
        for one in self._waiting:
            one.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        self.look()
        end(self._queue, *self.running)


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_comes_and_gives_up_nothing_is_lost_or_doubled_or_beyond_its_limit(seed):
    rng = random.Random(seed)
    queue = MemoryQueue(LANES, 100)
    opened(queue)
    consumers = Consumers(queue, rng)
    offered = 0
    for _ in range(400):
        if rng.random() < 0.4:
            name = rng.choice(["t.one", "t.two", "t.heavy", "t.lonely"])
            offered += queue.offer(ticket(f"{offered:04}", rng.choice([0, 0, 1]), name))
        consumers.act()
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        consumers.look()
        assert sum(one.processor == "t.lonely" for one in consumers.running) <= 1
    await consumers.finish()
    while queue.size("loop"):
        (last,) = await take_tickets(queue, 1)
        consumers.given.append(last.job_id)
        end(queue, last)
    assert sorted(consumers.given) == [f"{n:04}" for n in range(offered)]
