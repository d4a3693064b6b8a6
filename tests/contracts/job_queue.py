"""What every queue does: hand out hints, the most urgent first, and never more than fit."""

import asyncio
from collections.abc import Sequence

import pytest

from service.queues.base import JobQueue, Ticket

CAPACITY = 4
LANES = ("loop", "child")


def ticket(job_id: str, priority: int = 0, lane: str = "loop") -> Ticket:
    return Ticket(job_id, priority, lane)


def tickets(*job_ids: str, priority: int = 0) -> list[Ticket]:
    return [ticket(job_id, priority) for job_id in job_ids]


def restock(queue: JobQueue, *stock: Ticket, complete: bool = True, lane: str = "loop") -> None:
    """Fill a lane with its backlog, as the stager does."""
    queue.restock(lane, stock, queue.begin_restock(lane), complete=complete)


def opened(queue: JobQueue) -> JobQueue:
    """Tell an empty queue that the database holds nothing either."""
    for lane in LANES:
        restock(queue, lane=lane)
    return queue


async def take(queue: JobQueue, count: int, lane: str = "loop") -> list[str]:
    """Take the next ids."""
    async with asyncio.timeout(5):
        return [await queue.get(lane) for _ in range(count)]


async def is_empty(queue: JobQueue, lane: str = "loop") -> bool:
    """Whether a consumer would have to wait."""
    waiting = asyncio.create_task(queue.get(lane))
    done, _ = await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


async def hungry(queue: JobQueue) -> Sequence[str]:
    """Return the lanes that ask for more now; none if they ask for nothing."""
    try:
        async with asyncio.timeout(0.01):
            return await queue.wait_hungry()
    except TimeoutError:
        return ()


class JobQueueContract:
    """Inherited by the tests of each queue, which give a `queue` with these `LANES` of this `CAPACITY`."""

    @pytest.fixture
    async def queue(self) -> JobQueue:
        raise NotImplementedError

    # ---- order

    async def test_the_oldest_comes_first(self, queue):
        opened(queue)
        assert all(queue.offer(one) for one in tickets("b", "a", "c"))
        assert await take(queue, 3) == ["a", "b", "c"]

    async def test_the_highest_priority_comes_before_the_oldest(self, queue):
        opened(queue)
        for job_id, priority in [("a", 0), ("b", 5), ("c", -5), ("d", 5)]:
            queue.offer(ticket(job_id, priority))
        assert await take(queue, 4) == ["b", "d", "a", "c"]

    async def test_a_consumer_that_waits_gets_the_job_that_comes(self, queue):
        opened(queue)
        waiting = asyncio.create_task(queue.get("loop"))
        await asyncio.sleep(0)
        queue.offer(ticket("a"))
        async with asyncio.timeout(5):
            assert await waiting == "a"

    async def test_each_job_goes_to_one_of_the_consumers(self, queue):
        opened(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(4)]
        await asyncio.sleep(0)
        for one in tickets("a", "b", "c", "d"):
            queue.offer(one)
        async with asyncio.timeout(5):
            assert sorted(await asyncio.gather(*waiting)) == ["a", "b", "c", "d"]

    async def test_a_consumer_that_gives_up_takes_nothing_with_it(self, queue):
        opened(queue)
        first, second = (asyncio.create_task(queue.get("loop")) for _ in range(2))
        await asyncio.sleep(0)
        queue.offer(ticket("a"))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(5):
            assert await second == "a"

    # ---- handing over

    async def test_a_job_is_handed_over_to_a_consumer_that_waits_and_to_no_other(self, queue):
        opened(queue)
        assert not queue.hand_over(ticket("a"))
        assert await is_empty(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(2)]
        await asyncio.sleep(0)
        assert not queue.hand_over(ticket("a", lane="child"))
        assert [queue.hand_over(one) for one in tickets("a", "b", "c")] == [True, True, False]
        async with asyncio.timeout(5):
            assert sorted(await asyncio.gather(*waiting)) == ["a", "b"]
        assert not queue.hand_over(ticket("c"))

    async def test_no_more_is_handed_over_than_fits(self, queue):
        opened(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(CAPACITY + 2)]
        await asyncio.sleep(0)
        answers = [queue.hand_over(ticket(f"{n}")) for n in range(CAPACITY + 2)]
        assert answers == [True] * CAPACITY + [False] * 2
        async with asyncio.timeout(5):
            while sum(one.done() for one in waiting) < CAPACITY:
                await asyncio.sleep(0)
        late = [one for one in waiting if not one.done()]
        for one in late:
            one.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        assert len(late) == 2

    async def test_a_job_is_not_handed_over_past_those_that_wait_in_the_database(self, queue):
        opened(queue)
        waiting = asyncio.create_task(queue.get("loop"))
        await asyncio.sleep(0)
        restock(queue, complete=False)
        assert not queue.hand_over(ticket("a"))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    async def test_what_was_handed_over_to_one_who_gives_up_goes_to_the_next(self, queue):
        opened(queue)
        first, second = (asyncio.create_task(queue.get("loop")) for _ in range(2))
        await asyncio.sleep(0)
        assert queue.hand_over(ticket("a"))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(5):
            assert await second == "a"

    # ---- lanes and doubles

    async def test_lanes_do_not_mix(self, queue):
        opened(queue)
        queue.offer(ticket("a", lane="loop"))
        queue.offer(ticket("b", lane="child"))
        assert await take(queue, 1, "child") == ["b"]
        assert await take(queue, 1, "loop") == ["a"]

    async def test_a_job_offered_twice_is_handed_out_once(self, queue):
        opened(queue)
        assert queue.offer(ticket("a"))
        assert queue.offer(ticket("a"))
        restock(queue, ticket("a"))
        assert await take(queue, 1) == ["a"]
        assert await is_empty(queue)

    async def test_a_job_may_come_again_after_it_was_handed_out(self, queue):
        opened(queue)
        for _ in range(3):
            queue.offer(ticket("a"))
            assert await take(queue, 1) == ["a"]

    # ---- a backlog longer than the queue

    async def test_at_the_start_a_newcomer_waits_behind_the_backlog_that_nobody_has_read_yet(self, queue):
        assert not queue.offer(ticket("z"))
        assert set(await hungry(queue)) == set(LANES)

    async def test_what_does_not_fit_stays_in_the_database(self, queue):
        opened(queue)
        answers = [queue.offer(one) for one in tickets("a", "b", "c", "d", "e", "f")]
        assert answers == [True] * CAPACITY + [False, False]
        assert await take(queue, CAPACITY) == ["a", "b", "c", "d"]
        assert await is_empty(queue)

    async def test_a_newcomer_does_not_overtake_what_waits_in_the_database(self, queue):
        opened(queue)
        for one in tickets("a", "b", "c", "d", "e"):
            queue.offer(one)
        await take(queue, 3)
        assert not queue.offer(ticket("f"))  # "e" is older, and still outside
        restock(queue, *tickets("d", "e", "f"))
        assert await take(queue, 3) == ["d", "e", "f"]

    async def test_an_urgent_newcomer_comes_in_and_the_last_one_goes_back_to_the_database(self, queue):
        opened(queue)
        for one in tickets("a", "b", "c", "d"):
            queue.offer(one)
        assert queue.offer(ticket("urgent", 9))
        assert await take(queue, CAPACITY) == ["urgent", "a", "b", "c"]
        assert "loop" in await hungry(queue)
        restock(queue, ticket("d"))
        assert await take(queue, 1) == ["d"]

    async def test_a_lane_asks_for_more_only_when_it_has_room_and_the_database_has_more(self, queue):
        opened(queue)
        assert await hungry(queue) == ()
        restock(queue, *tickets("a", "b", "c", "d"), complete=False)
        assert await hungry(queue) == ()
        await take(queue, CAPACITY)
        assert list(await hungry(queue)) == ["loop"]
        restock(queue, *tickets("e", "f"), complete=True)
        await take(queue, 2)
        assert await hungry(queue) == ()

    async def test_who_waits_for_hunger_is_woken_by_a_consumer(self, queue):
        opened(queue)
        restock(queue, *tickets("a", "b", "c", "d"), complete=False)
        waiting = asyncio.create_task(queue.wait_hungry())
        await asyncio.sleep(0)
        assert not waiting.done()
        await take(queue, CAPACITY)
        async with asyncio.timeout(5):
            assert list(await waiting) == ["loop"]

    async def test_a_job_refused_while_the_backlog_was_read_is_not_forgotten(self, queue):
        seen = queue.begin_restock("loop")
        assert not queue.offer(ticket("z"))  # committed after the backlog was read
        queue.restock("loop", tickets("a"), seen, complete=True)
        await take(queue, 1)
        assert "loop" in await hungry(queue)

    async def test_a_restock_never_puts_in_more_than_fits_and_keeps_the_first(self, queue):
        opened(queue)
        restock(queue, *tickets("c", "d"))
        restock(queue, *tickets("a", "b", "c", "d"), complete=False)
        assert await take(queue, CAPACITY) == ["a", "b", "c", "d"]
        assert await is_empty(queue)

    async def test_a_restock_never_pushes_out_what_comes_sooner(self, queue):
        opened(queue)
        restock(queue, *tickets("d"))
        queue.offer(ticket("urgent", 9))  # committed after the backlog was read
        restock(queue, *tickets("a", "b", "c", "d"), complete=False)
        assert await take(queue, CAPACITY) == ["urgent", "a", "b", "c"]

    async def test_what_is_handed_out_is_not_taken_from_the_backlog_until_it_is_done(self, queue):
        opened(queue)
        queue.offer(ticket("a"))
        assert await take(queue, 1) == ["a"]
        restock(queue, *tickets("a", "b"))  # read before the claim of "a" was committed
        assert await take(queue, 1) == ["b"]
        queue.done("loop", "a")
        restock(queue, *tickets("a"))
        assert await take(queue, 1) == ["a"]

    async def test_what_was_done_while_the_backlog_was_read_is_not_taken_from_it(self, queue):
        opened(queue)
        queue.offer(ticket("a"))
        seen = queue.begin_restock("loop")
        assert await take(queue, 1) == ["a"]
        queue.done("loop", "a")
        queue.restock("loop", tickets("a", "b"), seen, complete=True)
        assert await take(queue, 1) == ["b"]
        assert await is_empty(queue)

    async def test_a_job_may_be_offered_again_while_it_is_handed_out(self, queue):
        """Cancelled and retried, before its first attempt has gone."""
        opened(queue)
        queue.offer(ticket("a"))
        assert await take(queue, 1) == ["a"]
        assert queue.offer(ticket("a"))
        assert await take(queue, 1) == ["a"]

    async def test_a_long_backlog_is_handed_out_whole_and_in_order(self, queue):
        """As consumer and stager do it: take, and refill whenever the lane asks."""
        backlog = [f"{n:03}" for n in range(50)]
        taken: list[str] = []
        while len(taken) < 50:
            if await hungry(queue):
                first = [one for one in backlog if one not in taken][:CAPACITY]
                restock(queue, *tickets(*first), complete=len(first) < CAPACITY)
                restock(queue, lane="child")
            taken += await take(queue, 1)
        assert taken == backlog
        assert await is_empty(queue)
