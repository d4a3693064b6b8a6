"""Settlements: whoever no longer holds a job cannot finish it."""

import asyncio

import pytest

from service.states import Move, State
from service.store.control import Staging
from service.store.records import Advance, Claim, Settlement
from tests.integration.stores import WORKER, at, new_file, open_store

SETTLING = [Move.SUCCEED, Move.FAIL, Move.BACK_OFF, Move.SNOOZE, Move.RELEASE]


@pytest.mark.parametrize("move", SETTLING)
@pytest.mark.parametrize(("worker_id", "attempt"), [("worker-2", 1), (WORKER, 0), (WORKER, 2), ("", 1), ("", 0)])
async def test_a_zombie_cannot_settle(store, move, worker_id, attempt):
    job = await store.running()
    before = store.sql("SELECT * FROM jobs")
    settled = await store.jobs.settle(Settlement(job.id, worker_id, attempt, move, at(1), outputs=(new_file(),)))
    assert settled is False
    assert store.sql("SELECT * FROM jobs") == before
    assert store.sql("SELECT count(*) FROM files") == [(0,)]
    assert await store.reasons(job.id) == ["submit", "claim"]


async def test_a_job_that_was_rescued_is_finished_by_its_new_worker_only(store):
    first = await store.running("worker-1")
    await store.rescue(at(1), "worker-2")
    second = await store.jobs.claim(Claim(first.id, "worker-2", at(2)))
    assert second is not None
    late = Settlement(first.id, "worker-1", first.attempt, Move.SUCCEED, at(3), result="late")
    good = Settlement(first.id, "worker-2", second.attempt, Move.SUCCEED, at(4), result="good")
    assert [await store.jobs.settle(one) for one in (late, good, late)] == [False, True, False]
    assert (await store.jobs.get(first.id)).job.result == "good"


async def test_the_same_worker_cannot_settle_with_the_attempt_before(store):
    first = await store.running()
    await store.jobs.cancel(first.id, at(1))
    await store.jobs.retry(first.id, at(2))
    second = await store.jobs.claim(Claim(first.id, WORKER, at(3)))
    assert second is not None
    assert not await store.jobs.settle(Settlement(first.id, WORKER, first.attempt, Move.SUCCEED, at(4)))
    assert await store.state(first.id) is State.RUNNING
    assert await store.jobs.settle(Settlement(first.id, WORKER, second.attempt, Move.SUCCEED, at(5)))


@pytest.mark.parametrize("given_back", [Move.RELEASE, Move.SNOOZE])
async def test_the_same_worker_cannot_settle_with_an_attempt_that_was_given_back(store, given_back):
    """Its number is given to the next one: the moment of the claim tells them apart."""
    first = await store.running()
    await store.jobs.settle(Settlement(first.id, WORKER, 1, given_back, at(1)))
    second = await store.jobs.claim(Claim(first.id, WORKER, at(2)))
    assert second is not None
    assert second.attempt == first.attempt
    for move in SETTLING:
        late = Settlement(first.id, WORKER, 1, move, at(3), started_at=first.started_at)
        assert not await store.jobs.settle(late)
    assert not await store.jobs.advance(Advance(first.id, WORKER, 1, fraction=0.5, started_at=first.started_at))
    good = Settlement(first.id, WORKER, 1, Move.SUCCEED, at(4), result="good", started_at=second.started_at)
    assert await store.jobs.settle(good)


async def test_of_two_settlements_of_one_attempt_the_first_counts(store):
    job = await store.running()
    both = [Settlement(job.id, WORKER, 1, Move.SUCCEED, at(1), result=n, outputs=(new_file(),)) for n in (1, 2)]
    assert await asyncio.gather(*map(store.jobs.settle, both)) == [True, False]
    record = await store.jobs.get(job.id)
    assert record.job.result == 1
    assert len(record.outputs) == 1
    assert store.sql("SELECT count(*) FROM files") == [(1,)]


async def test_of_two_servers_that_settle_the_same_attempt_one_does(store, database_path):
    async with open_store(database_path) as second:
        for _ in range(10):
            job = await store.running()
            one = Settlement(job.id, WORKER, 1, Move.SUCCEED, at(1))
            assert sorted(await asyncio.gather(store.jobs.settle(one), second.jobs.settle(one))) == [False, True]


async def test_a_zombie_among_many_settlements_fails_alone(store):
    jobs = [await store.running() for _ in range(20)]
    settlements = [
        Settlement(job.id, "zombie" if n == 7 else WORKER, 1, Move.SUCCEED, at(1), result=n, outputs=(new_file(),))
        for n, job in enumerate(jobs)
    ]
    assert await asyncio.gather(*map(store.jobs.settle, settlements)) == [n != 7 for n in range(20)]
    assert [(await store.jobs.get(job.id)).job.result for job in jobs] == [n if n != 7 else None for n in range(20)]
    assert store.sql("SELECT count(*) FROM files") == [(19,)]
    assert [await store.reasons(job.id) for job in jobs] == [
        ["submit", "claim", *(["succeed"] if n != 7 else [])] for n in range(20)
    ]


# ---- later


async def test_an_attempt_that_backs_off_counts_and_waits_for_its_moment(store):
    job = await store.running()
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.BACK_OFF, at(1), run_after=at(31)))
    assert await store.jobs.find_next_due() == at(31)
    assert await store.jobs.list_ready(["t.one"], 10) == []
    assert await store.jobs.stage(Staging(at(30), 10)) == 0
    assert await store.jobs.stage(Staging(at(31), 10)) == 1
    again = await store.jobs.claim(Claim(job.id, WORKER, at(31)))
    assert again is not None
    assert again.attempt == 2
    event = (await store.jobs.list_events(job.id))[2]
    assert (event.data["reason"], event.data["run_after"]) == ("back_off", at(31).isoformat())


async def test_a_snooze_does_not_count_however_often(store):
    job_id = await store.queued(max_attempts=1)
    for n in range(5):
        job = await store.jobs.claim(Claim(job_id, WORKER, at(n)))
        assert job is not None
        assert job.attempt == 1
        await store.jobs.settle(Settlement(job_id, WORKER, 1, Move.SNOOZE, at(n), run_after=at(n + 1)))
        assert await store.jobs.stage(Staging(at(n + 1), 10)) == 1
    assert (await store.jobs.get(job_id)).job.attempt == 0


async def test_a_delay_of_nothing_makes_the_job_ready_at_once(store):
    job = await store.running()
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.BACK_OFF, at(1), run_after=at(1)))
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 10)] == [job.id]
    assert await store.jobs.find_next_due() is None


async def test_a_release_puts_the_job_back_as_if_it_had_not_been_claimed(store):
    job = await store.running(max_attempts=1)
    assert await store.jobs.release(WORKER, at(1)) == 1
    row = (await store.jobs.get(job.id)).job
    assert (row.state, row.attempt, row.worker_id) == (State.QUEUED, 0, None)
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 10)] == [job.id]


# ---- progress and log lines


async def test_progress_and_log_lines_are_recorded_in_order(store):
    job = await store.running()
    lines = tuple(
        {"job_id": job.id, "at": at(n), "kind": "log", "attempt": 1, "data": {"message": str(n), "fields": {}}}
        for n in range(3)
    )
    assert await store.jobs.advance(Advance(job.id, WORKER, 1, lines, fraction=0.5, message="half"))
    row = (await store.jobs.get(job.id)).job
    assert (row.progress_fraction, row.progress_message) == (0.5, "half")
    events = await store.jobs.list_events(job.id)
    assert [event.data["message"] for event in events if event.kind == "log"] == ["0", "1", "2"]


async def test_log_lines_alone_leave_the_progress_as_it_is(store):
    job = await store.running()
    await store.jobs.advance(Advance(job.id, WORKER, 1, fraction=0.25, message="a quarter"))
    await store.jobs.advance(Advance(job.id, WORKER, 1))
    row = (await store.jobs.get(job.id)).job
    assert (row.progress_fraction, row.progress_message) == (0.25, "a quarter")


async def test_a_zombie_cannot_say_how_far_it_is(store):
    job = await store.running()
    line = {"job_id": job.id, "at": at(1), "kind": "log", "attempt": 1, "data": {"message": "boo", "fields": {}}}
    told = [Advance(job.id, "zombie", 1, (line,), fraction=0.9), Advance(job.id, WORKER, 1, fraction=0.1)]
    assert await asyncio.gather(*map(store.jobs.advance, told)) == [False, True]
    assert (await store.jobs.get(job.id)).job.progress_fraction == 0.1
    assert len(await store.jobs.list_events(job.id)) == 2


async def test_progress_starts_again_with_each_attempt(store):
    job = await store.running()
    await store.jobs.advance(Advance(job.id, WORKER, 1, fraction=0.9, message="nearly"))
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.BACK_OFF, at(1), run_after=at(1)))
    await store.jobs.claim(Claim(job.id, WORKER, at(2)))
    row = (await store.jobs.get(job.id)).job
    assert (row.progress_fraction, row.progress_message) == (0.0, "")
