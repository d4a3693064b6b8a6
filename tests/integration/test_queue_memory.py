"""The queue of one process: the contract, and its bound."""

import random

import pytest

from service.queues.base import JobQueue
from service.queues.memory import MemoryQueue
from tests.contracts.job_queue import CAPACITY, LANES, JobQueueContract, opened, restock, take, ticket


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
    entries = queue._lanes["loop"]._entries
    assert len(entries) == len(set(entries)) == queue.size("loop")


async def test_a_queue_of_one_still_hands_out_everything_in_order():
    queue = opened(MemoryQueue(LANES, 1))
    assert queue.offer(ticket("b"))
    assert queue.offer(ticket("a"))  # comes sooner: "b" goes back
    assert not queue.offer(ticket("c"))
    assert await take(queue, 1) == ["a"]
    assert list(await queue.wait_hungry()) == ["loop"]
    restock(queue, ticket("b"), complete=False)
    assert await take(queue, 1) == ["b"]


async def test_each_lane_has_its_own_bound():
    queue = MemoryQueue(LANES, CAPACITY)
    opened(queue)
    for n in range(10):
        queue.offer(ticket(f"{n}", lane="loop"))
        queue.offer(ticket(f"{n}", lane="child"))
    assert (queue.size("loop"), queue.size("child")) == (CAPACITY, CAPACITY)
