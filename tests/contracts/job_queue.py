"""What every queue does: hand out hints, the most urgent first, and never more than fit."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from service.queues.base import JobQueue, Share, Ticket

CAPACITY = 4
LANES = {
    "loop": [Share("t.one"), Share("t.two"), Share("t.heavy", weight=3), Share("t.lonely", max_concurrency=1)],
    "child": [Share("t.child")],
}
PROCESSORS = [share.processor for shares in LANES.values() for share in shares]


def ticket(job_id: str, priority: int = 0, processor: str = "t.one") -> Ticket:
    return Ticket(job_id, priority, processor)


def tickets(*job_ids: str, priority: int = 0, processor: str = "t.one") -> list[Ticket]:
    return [ticket(job_id, priority, processor) for job_id in job_ids]


def restock(queue: JobQueue, *stock: Ticket, complete: bool = True, processor: str = "t.one") -> None:
    """Give the backlog of a processor, as the stager does."""
    queue.restock(queue.begin_restock([processor]), stock, len(stock) + complete)


def opened(queue: JobQueue, *processors: str) -> JobQueue:
    """Tell an empty queue that the database holds nothing either."""
    for processor in processors or PROCESSORS:
        restock(queue, processor=processor)
    return queue


async def take_tickets(queue: JobQueue, count: int, lane: str = "loop") -> list[Ticket]:
    """Take the next tickets."""
    async with asyncio.timeout(20):
        return [await queue.get(lane) for _ in range(count)]


async def take(queue: JobQueue, count: int, lane: str = "loop") -> list[str]:
    """Take the next ids."""
    return [one.job_id for one in await take_tickets(queue, count, lane)]


def end(queue: JobQueue, *ended: Ticket) -> None:
    """Say that these have had their attempt."""
    for one in ended:
        queue.free(one)
        queue.done(one)


async def is_empty(queue: JobQueue, lane: str = "loop") -> bool:
    """Whether a consumer would have to wait."""
    waiting = asyncio.create_task(queue.get(lane))
    done, _ = await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


async def hungry(queue: JobQueue) -> Sequence[str]:
    """Return the processors that ask for more now; none if they ask for nothing."""
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
        async with asyncio.timeout(60):
            assert await waiting == ticket("a")

    async def test_each_job_goes_to_one_of_the_consumers(self, queue):
        opened(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(4)]
        await asyncio.sleep(0)
        for one in tickets("a", "b", "c", "d"):
            queue.offer(one)
        async with asyncio.timeout(60):
            assert sorted(one.job_id for one in await asyncio.gather(*waiting)) == ["a", "b", "c", "d"]

    async def test_a_consumer_that_gives_up_takes_nothing_with_it(self, queue):
        opened(queue)
        first, second = (asyncio.create_task(queue.get("loop")) for _ in range(2))
        await asyncio.sleep(0)
        queue.offer(ticket("a"))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(60):
            assert await second == ticket("a")

    # ---- turns

    async def test_of_several_processors_each_has_its_turn_however_many_wait_ahead(self, queue):
        opened(queue)
        for job_id, processor in [("a", "t.one"), ("b", "t.one"), ("c", "t.one"), ("x", "t.two"), ("y", "t.two")]:
            queue.offer(ticket(job_id, processor=processor))
        assert await take(queue, 5) == ["a", "x", "b", "y", "c"]

    async def test_who_comes_has_its_turn_before_who_has_just_had_one(self, queue):
        opened(queue)
        for one in tickets("a", "b", "c"):
            queue.offer(one)
        assert await take(queue, 2) == ["a", "b"]
        queue.offer(ticket("x", processor="t.two"))
        assert await take(queue, 2) == ["x", "c"]

    async def test_a_processor_has_as_many_turns_as_its_weight(self, queue):
        opened(queue)
        for processor in ("t.one", "t.two", "t.heavy"):
            restock(queue, *tickets(*(f"{n}" for n in range(CAPACITY)), processor=processor), processor=processor)
        first = Counter(one.processor for one in await take_tickets(queue, 5))
        assert first == {"t.heavy": 3, "t.one": 1, "t.two": 1}

    async def test_the_highest_priority_goes_first_whose_turn_it_is_or_not(self, queue):
        opened(queue)
        for one in (*tickets("a", "b", priority=5), *tickets("c", "d"), *tickets("x", "y", processor="t.two")):
            queue.offer(one)
        queue.offer(ticket("z", 5, "t.two"))
        assert await take(queue, 3) == ["a", "z", "b"]
        assert sorted(await take(queue, 4)) == ["c", "d", "x", "y"]

    async def test_urgent_jobs_in_between_take_no_turn_away_from_another(self, queue):
        opened(queue)
        for one in (*tickets("a", "b"), *tickets("x", "y", processor="t.two")):
            queue.offer(one)
        taken = []
        for n in range(4):
            taken += await take(queue, 1)
            queue.offer(ticket(f"urgent{n}", 9, "t.heavy"))
            assert await take(queue, 1) == [f"urgent{n}"]
        assert taken == ["a", "x", "b", "y"]

    async def test_a_processor_at_its_limit_is_passed_over_and_comes_when_one_of_its_jobs_is_over(self, queue):
        opened(queue)
        for one in (*tickets("a", "b", processor="t.lonely"), *tickets("x", "y")):
            queue.offer(one)
        taken = await take_tickets(queue, 3)
        assert sorted(one.job_id for one in taken) == ["a", "x", "y"]
        assert await is_empty(queue)
        waiting = asyncio.create_task(queue.get("loop"))
        await asyncio.sleep(0)
        queue.free(ticket("a", processor="t.lonely"))
        async with asyncio.timeout(20):
            assert await waiting == ticket("b", processor="t.lonely")

    async def test_a_limited_processor_neither_starves_nor_is_starved(self, queue):
        opened(queue)
        for one in (*tickets("a", "b", "c"), *tickets("x", "y", "z", processor="t.lonely")):
            queue.offer(one)
        taken = []
        for _ in range(6):
            taken += await take_tickets(queue, 1)
            end(queue, taken[-1])
        assert [one.job_id for one in taken] == ["a", "x", "b", "y", "c", "z"]

    async def test_a_limit_is_kept_by_those_who_wait_and_by_what_is_handed_over(self, queue):
        opened(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(4)]
        await asyncio.sleep(0)
        lonely = tickets("a", "b", "c", processor="t.lonely")
        assert [queue.hand_over(one) for one in lonely] == [True, False, False]
        assert queue.offer(lonely[1])
        assert queue.hand_over(ticket("x"))
        await asyncio.sleep(0)
        assert sorted(one.result().job_id for one in waiting if one.done()) == ["a", "x"]
        end(queue, lonely[0])
        await asyncio.sleep(0)
        assert sorted(one.result().job_id for one in waiting if one.done()) == ["a", "b", "x"]
        waiting[-1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def test_one_who_gives_up_leaves_the_limit_as_it_was(self, queue):
        opened(queue)
        waiting = asyncio.create_task(queue.get("loop"))
        await asyncio.sleep(0)
        queue.offer(ticket("a", processor="t.lonely"))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await take(queue, 1) == ["a"]

    async def test_a_long_backlog_of_one_hides_nothing_of_another(self, queue):
        opened(queue, "t.two")
        restock(queue, *tickets("a", "b", "c", "d"), complete=False)
        assert not queue.offer(ticket("e"))
        assert queue.offer(ticket("x", processor="t.two"))
        assert sorted(await take(queue, 2)) == ["a", "x"]

    # ---- handing over

    async def test_a_job_is_handed_over_to_a_consumer_that_waits_and_to_no_other(self, queue):
        opened(queue)
        assert not queue.hand_over(ticket("a"))
        assert await is_empty(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(2)]
        await asyncio.sleep(0)
        assert not queue.hand_over(ticket("a", processor="t.child"))
        assert [queue.hand_over(one) for one in tickets("a", "b", "c")] == [True, True, False]
        async with asyncio.timeout(60):
            assert sorted(one.job_id for one in await asyncio.gather(*waiting)) == ["a", "b"]
        assert not queue.hand_over(ticket("c"))

    async def test_to_many_that_wait_as_many_are_handed_over(self, queue):
        opened(queue)
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(CAPACITY + 2)]
        await asyncio.sleep(0)
        assert all(queue.hand_over(ticket(f"{n}")) for n in range(CAPACITY + 2))
        async with asyncio.timeout(20):
            assert len(set(await asyncio.gather(*waiting))) == CAPACITY + 2

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
        async with asyncio.timeout(60):
            assert await second == ticket("a")

    # ---- lanes and doubles

    async def test_lanes_do_not_mix(self, queue):
        opened(queue)
        queue.offer(ticket("a"))
        queue.offer(ticket("b", processor="t.child"))
        assert await take(queue, 1, "child") == ["b"]
        assert await take(queue, 1, "loop") == ["a"]

    async def test_a_job_of_a_processor_that_is_not_here_stays_in_the_database(self, queue):
        opened(queue)
        waiting = asyncio.create_task(queue.get("loop"))
        await asyncio.sleep(0)
        stranger = ticket("a", 9, "t.elsewhere")
        assert not queue.offer(stranger)
        assert not queue.hand_over(stranger)
        queue.offer(ticket("b"))
        async with asyncio.timeout(20):
            assert await waiting == ticket("b")
        assert await hungry(queue) == ()

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
        assert set(await hungry(queue)) == set(PROCESSORS)

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
        assert "t.one" in await hungry(queue)
        restock(queue, ticket("d"))
        assert await take(queue, 1) == ["d"]

    async def test_a_processor_asks_for_more_only_when_it_has_room_and_the_database_has_more(self, queue):
        opened(queue)
        assert await hungry(queue) == ()
        restock(queue, *tickets("a", "b", "c", "d"), complete=False)
        assert await hungry(queue) == ()
        await take(queue, CAPACITY)
        assert list(await hungry(queue)) == ["t.one"]
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
        async with asyncio.timeout(60):
            assert list(await waiting) == ["t.one"]

    async def test_a_job_refused_while_the_backlog_was_read_is_not_forgotten(self, queue):
        seen = queue.begin_restock(["t.one"])
        assert not queue.offer(ticket("z"))  # committed after the backlog was read
        queue.restock(seen, tickets("a"), CAPACITY)
        await take(queue, 1)
        assert "t.one" in await hungry(queue)

    async def test_of_all_that_a_restock_brings_the_most_urgent_goes_first_and_each_processor_has_its_turn(self, queue):
        waiting = [asyncio.create_task(queue.get("loop")) for _ in range(3)]
        await asyncio.sleep(0)
        stock = [*tickets("a", "b", "c"), *tickets("x", "y", processor="t.two"), ticket("urgent", 1, "t.lonely")]
        queue.restock(queue.begin_restock(PROCESSORS), stock, CAPACITY)
        async with asyncio.timeout(20):
            assert [(await one).job_id for one in waiting] == ["urgent", "a", "x"]

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
        queue.done(ticket("a"))
        restock(queue, *tickets("a"))
        assert await take(queue, 1) == ["a"]

    async def test_what_was_done_while_the_backlog_was_read_is_not_taken_from_it(self, queue):
        opened(queue)
        queue.offer(ticket("a"))
        seen = queue.begin_restock(["t.one"])
        assert await take(queue, 1) == ["a"]
        queue.done(ticket("a"))
        queue.restock(seen, tickets("a", "b"), CAPACITY)
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
        """As consumer and stager do it: take, and refill whenever the processor asks."""
        backlog = [f"{n:03}" for n in range(50)]
        taken: list[str] = []
        while len(taken) < 50:
            if await hungry(queue):
                first = [one for one in backlog if one not in taken][:CAPACITY]
                restock(queue, *tickets(*first), complete=len(first) < CAPACITY)
                opened(queue, *(name for name in PROCESSORS if name != "t.one"))
            taken += await take(queue, 1)
        assert taken == backlog
        assert await is_empty(queue)
