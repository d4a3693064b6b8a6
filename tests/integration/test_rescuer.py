"""Jobs of dead workers, and those that this one has lost."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service.states import Move, State
from service.store.control import Staging
from service.store.records import Claim, Settlement
from service.worker.ledger import Ledger
from service.worker.rescuer import LostJobs, Rescuer
from service.worker.runner import Returned
from tests.integration import test_executor
from tests.integration.stores import WORKER, at

bench = test_executor.bench


async def test_what_a_dead_worker_ran_is_queued_again_and_the_attempt_does_not_count(store, clock):
    job = await store.running("dead")
    clock.advance(5)
    assert await Rescuer(store.jobs, "alive", clock).rescue() == 1
    row = (await store.jobs.get(job.id)).job
    assert (row.state, row.attempt, row.worker_id, row.run_after) == (State.QUEUED, 0, None, at(5))
    assert (row.losses, row.max_attempts) == (1, 3)
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 10)] == [job.id]
    event = (await store.jobs.list_events(job.id))[-1]
    assert (event.data["reason"], event.at, event.attempt) == ("rescue", at(5), 1)


async def test_after_each_loss_but_the_first_a_job_waits_longer_and_after_the_last_it_fails(store, clock):
    job = await store.running("dead", max_attempts=1)
    for wait_s in (0, 2, 8, 30):
        assert await Rescuer(store.jobs, "alive", clock, max_losses=5, draw=lambda: 1.0).rescue() == 1
        row = (await store.jobs.get(job.id)).job
        assert (row.state, (row.run_after - clock.now()).total_seconds()) == (State.QUEUED, wait_s)
        assert [one.id for one in await store.jobs.list_ready(["t.one"], 10)] == ([] if wait_s else [job.id])
        clock.advance(wait_s)
        await store.jobs.stage(Staging(clock.now(), 10))
        assert await store.jobs.claim(Claim(job.id, "dead", clock.now()))
    assert await Rescuer(store.jobs, "alive", clock, max_losses=5).rescue() == 1
    row = (await store.jobs.get(job.id)).job
    assert (row.state, row.error["code"], row.finished_at) == (State.FAILED, "worker_lost", clock.now())
    assert (row.attempt, row.losses) == (1, 5)


async def test_a_job_that_was_given_up_and_is_retried_by_hand_has_all_its_chances_again(store, clock):
    job = await store.running("dead")
    await Rescuer(store.jobs, "alive", clock, max_losses=1).rescue()
    assert await store.jobs.retry(job.id, at(1))
    await store.jobs.claim(Claim(job.id, "dead", at(2)))
    await Rescuer(store.jobs, "alive", clock, max_losses=2).rescue()
    row = (await store.jobs.get(job.id)).job
    assert (row.state, row.losses) == (State.QUEUED, 1)


async def test_what_this_worker_runs_is_left_alone(store, clock):
    job = await store.running("alive")
    assert await Rescuer(store.jobs, "alive", clock).rescue() == 0
    assert await store.state(job.id) is State.RUNNING


@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
async def test_what_does_not_run_is_left_alone(store, clock, state):
    job_id = await store.in_state(state)
    assert await Rescuer(store.jobs, "alive", clock).rescue() == 0
    assert await store.state(job_id) is state


async def test_however_many_there_are_all_are_rescued_slice_by_slice_and_it_is_said(store, clock, monkeypatch):
    monkeypatch.setattr("service.worker.rescuer._SLICE", 3)
    for n in range(10):
        job = await store.running(f"dead-{n}")
        store.sql("UPDATE jobs SET losses = ? WHERE id = ?", 4 * (n % 2), job.id)
    with capture_logs() as lines:
        assert await Rescuer(store.jobs, "alive", clock).rescue() == 10
    assert store.sql("SELECT state, count(*) FROM jobs GROUP BY state") == [("failed", 5), ("queued", 5)]
    assert [line["jobs"] for line in lines] == [10]


# ---- jobs that no consumer of this worker runs


async def look(bench, times=1):
    lost = LostJobs(bench.store.jobs, bench.executor, WORKER)
    for _ in range(times):
        await lost.look()


async def test_a_job_that_was_claimed_and_never_begun_is_put_back_at_the_second_look(bench):
    job = await bench.store.running(WORKER, max_attempts=1)
    lost = LostJobs(bench.store.jobs, bench.executor, WORKER)
    await lost.look()
    assert await bench.store.state(job.id) is State.RUNNING
    with capture_logs() as lines:
        await lost.look()
    row = (await bench.store.jobs.get(job.id)).job
    assert (row.state, row.attempt, row.worker_id) == (State.QUEUED, 0, None)
    assert await bench.store.reasons(job.id) == ["submit", "claim", "release"]
    assert [(line["job_id"], line["log_level"]) for line in lines] == [(job.id, "error")]


async def test_what_runs_here_or_elsewhere_is_no_lost_job(bench):
    job_id, task = await bench.begin()
    other = await bench.store.running("worker-2")
    await look(bench, times=3)
    assert [await bench.store.state(one) for one in (job_id, other.id)] == [State.RUNNING] * 2
    bench.elsewhere.give(Returned("done"))
    await task
    assert await bench.store.state(job_id) is State.SUCCEEDED


async def test_a_claim_that_is_being_committed_is_no_lost_job(bench, monkeypatch):
    go, claimed = asyncio.Event(), asyncio.Event()

    async def slow(claim, own=bench.store.jobs.claim):
        won = await own(claim)
        claimed.set()
        await go.wait()
        return won

    monkeypatch.setattr(bench.store.jobs, "claim", slow)
    task = asyncio.create_task(bench.execute(test_executor.on_loop, "greet"))
    await claimed.wait()
    await look(bench, times=3)
    go.set()
    assert await bench.store.reasons(await task) == ["submit", "claim", "succeed"]


@pytest.mark.parametrize(
    ("max_attempts", "state", "reason"), [(2, State.QUEUED, "back_off"), (1, State.FAILED, "fail")]
)
async def test_an_attempt_that_was_run_and_could_not_be_settled_counts(bench, monkeypatch, max_attempts, state, reason):
    async def break_down(*_):
        raise SystemError("no")

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "finish", break_down)
        job_id = await bench.store.queued(processor="t.loop", metadata={"step": "greet"}, max_attempts=max_attempts)
        with pytest.raises(SystemError):
            await bench.executor.execute(job_id)
    await look(bench, times=2)
    row = (await bench.store.jobs.get(job_id)).job
    assert (row.state, row.attempt, row.worker_id) == (state, 1, None)
    assert await bench.store.reasons(job_id) == ["submit", "claim", reason]


async def test_a_later_attempt_of_the_same_number_is_not_freed_for_an_earlier_one(bench, clock):
    job = await bench.store.running(WORKER)
    (earlier,) = await bench.store.jobs.list_held(WORKER)
    clock.advance(1)
    assert await bench.store.jobs.settle(Settlement(job.id, WORKER, 1, Move.SNOOZE, clock.now()))
    assert await bench.store.jobs.claim(Claim(job.id, WORKER, clock.now()))
    assert not await bench.executor.free(earlier)
    assert await bench.store.state(job.id) is State.RUNNING
