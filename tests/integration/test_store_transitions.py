"""Every move from every state: what the table allows happens and is recorded, all else leaves no trace."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import JobNotFoundError
from service.states import DELETABLE, TERMINAL, TRANSITIONS, Move, State
from service.store.ids import new_id
from service.store.records import Claim, Settlement
from tests.integration.stores import WORKER, Store, at, new_file

NOW = at(10)


async def claim(store: Store, job_id: str) -> bool:
    return await store.jobs.claim(Claim(job_id, WORKER, NOW)) is not None


async def rescue(store: Store, _job_id: str) -> bool:
    return await store.rescue(NOW) == 1


async def give_up(store: Store, _job_id: str) -> bool:
    return await store.rescue(NOW, max_losses=1) == 1


async def release(store: Store, _job_id: str) -> bool:
    return await store.jobs.release(WORKER, NOW) == 1


async def cancel(store: Store, job_id: str) -> bool:
    return await store.jobs.cancel(job_id, NOW)


async def retry(store: Store, job_id: str) -> bool:
    return await store.jobs.retry(job_id, NOW)


def settle(move: Move, **rest: Any) -> Callable[[Store, str], Awaitable[bool]]:
    async def settle(store: Store, job_id: str) -> bool:
        return await store.jobs.settle(Settlement(job_id, WORKER, 1, move, NOW, **rest))

    return settle


WAYS = [
    (Move.CLAIM, claim),
    (Move.SUCCEED, settle(Move.SUCCEED, result={"n": 1})),
    (Move.FAIL, settle(Move.FAIL, error={"code": "failed", "message": "no"})),
    (Move.BACK_OFF, settle(Move.BACK_OFF, error={"code": "failed", "message": "no"}, run_after=at(20))),
    (Move.SNOOZE, settle(Move.SNOOZE, run_after=at(20))),
    (Move.RELEASE, settle(Move.RELEASE)),
    (Move.RELEASE, release),
    (Move.RESCUE, rescue),
    (Move.GIVE_UP, give_up),
    (Move.CANCEL, cancel),
    (Move.RETRY, retry),
]
IDS = [f"{move}-{number}" for number, (move, _) in enumerate(WAYS)]


def test_every_move_but_the_submission_is_tried():
    assert {move for move, _ in WAYS} == set(Move) - {Move.SUBMIT}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(("move", "make"), WAYS, ids=IDS)
async def test_a_move_happens_only_from_the_states_that_the_table_allows(store, move, make, state):
    job_id = await store.in_state(state)
    before = store.sql("SELECT * FROM jobs"), store.sql("SELECT * FROM events")
    moved = await make(store, job_id)
    if state in TRANSITIONS[move].sources:
        assert moved is True
        assert await store.state(job_id) is TRANSITIONS[move].target
        await require_recorded(store, job_id, move)
    else:
        assert moved is False
        assert (store.sql("SELECT * FROM jobs"), store.sql("SELECT * FROM events")) == before


async def require_recorded(store: Store, job_id: str, move: Move) -> None:
    """Exactly one event was added, with the moment, the state and the reason."""
    first, last = await store.jobs.list_events(job_id)
    assert (first.data["reason"], first.at) == ("submit", at(0))
    assert (last.kind, last.at) == ("state", NOW)
    assert (last.data["state"], last.data["reason"]) == (TRANSITIONS[move].target.value, move.value)


async def test_a_submission_is_recorded_with_its_moment_and_reason(store):
    job_id = await store.queued(created_at=at(7), run_after=at(7))
    (event,) = await store.jobs.list_events(job_id)
    assert (event.kind, event.attempt, event.at) == ("state", 0, at(7))
    assert event.data == {"state": "queued", "reason": "submit"}


@pytest.mark.parametrize(("move", "make"), WAYS, ids=IDS)
async def test_a_move_leaves_every_other_job_alone(store, move, make):
    (source, *_) = sorted(TRANSITIONS[move].sources)
    bystander = await store.in_state(source)
    store.sql("UPDATE jobs SET worker_id = 'another-worker', attempt = 1 WHERE id = ?", bystander)
    before = store.sql("SELECT * FROM jobs WHERE id = ?", bystander)
    job_id = await store.in_state(source)
    assert await make(store, job_id)
    assert store.sql("SELECT * FROM jobs WHERE id = ?", bystander) == before
    assert await store.reasons(bystander) == ["submit"]


@pytest.mark.parametrize("state", State)
async def test_a_job_is_deleted_unless_it_runs(store, state):
    job_id = await store.in_state(state)
    count, _ = await store.files.delete_with_jobs([job_id])
    assert count == (state in DELETABLE)
    assert len(store.sql("SELECT * FROM events")) == (state not in DELETABLE)
    if state in DELETABLE:
        with pytest.raises(JobNotFoundError):
            await store.jobs.get(job_id)
    else:
        assert await store.state(job_id) is state


@pytest.mark.parametrize("make", [way[1] for way in WAYS], ids=IDS)
async def test_no_move_is_made_with_a_job_that_is_not_there(store, make):
    assert await make(store, new_id()) is False
    assert store.sql("SELECT * FROM events") == []


# ---- what a move leaves in the row


@pytest.mark.parametrize(("move", "make"), WAYS, ids=IDS)
async def test_a_job_has_an_end_exactly_while_it_is_at_its_end(store, move, make):
    (source, *_) = sorted(TRANSITIONS[move].sources)
    job_id = await store.in_state(source)
    await make(store, job_id)
    job = (await store.jobs.get(job_id)).job
    assert job.finished_at == (NOW if TRANSITIONS[move].target in TERMINAL else None)


@pytest.mark.parametrize(("move", "make"), WAYS, ids=IDS)
async def test_a_job_has_a_worker_exactly_while_it_runs(store, move, make):
    (source, *_) = sorted(TRANSITIONS[move].sources)
    job_id = await store.in_state(source)
    await make(store, job_id)
    job = (await store.jobs.get(job_id)).job
    assert job.worker_id == (WORKER if move is Move.CLAIM else None)


@pytest.mark.parametrize(("move", "make"), WAYS, ids=IDS)
async def test_only_a_claim_counts_an_attempt_and_a_snooze_a_release_or_a_rescue_gives_it_back(store, move, make):
    (source, *_) = sorted(TRANSITIONS[move].sources)
    job_id = await store.in_state(source)
    await make(store, job_id)
    change = {Move.CLAIM: 1, Move.SNOOZE: -1, Move.RELEASE: -1, Move.RESCUE: -1}.get(move, 0)
    assert (await store.jobs.get(job_id)).job.attempt == 1 + change


async def test_a_job_that_succeeded_has_its_result_its_outputs_and_no_error(store):
    job = await store.running()
    outputs = (new_file("b.txt"), new_file("a.txt"))
    settled = Settlement(job.id, WORKER, 1, Move.SUCCEED, NOW, result=[1, None, "ä"], outputs=outputs)
    assert await store.jobs.settle(settled)
    record = await store.jobs.get(job.id)
    assert (record.job.result, record.job.error, record.job.progress_fraction) == ([1, None, "ä"], None, 1.0)
    assert [file.name for file in record.outputs] == ["b.txt", "a.txt"]


async def test_a_job_that_failed_says_why_in_its_row_and_in_its_event(store):
    job = await store.running()
    error = {"code": "impossible", "message": "it cannot be done", "traceback": "long"}
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.FAIL, NOW, error=error))
    assert (await store.jobs.get(job.id)).job.error == error
    event = (await store.jobs.list_events(job.id))[-1]
    assert event.data["error"] == {"code": "impossible", "message": "it cannot be done"}


async def test_a_cancelled_job_says_so(store):
    job_id = await store.queued()
    await store.jobs.cancel(job_id, NOW)
    error = (await store.jobs.get(job_id)).job.error
    assert error == {"code": "cancelled", "message": "the job was cancelled"}


@pytest.mark.parametrize(("losses", "often"), [(0, "died once while"), (4, "died 5 times in a row while")])
async def test_a_worker_that_died_too_often_under_a_job_fails_it_and_says_so(store, losses, often):
    job = await store.running()
    store.sql("UPDATE jobs SET losses = ?", losses)
    await store.rescue(NOW, max_losses=losses + 1)
    row = (await store.jobs.get(job.id)).job
    assert (row.state, row.attempt, row.losses, row.error["code"]) == (State.FAILED, 1, losses + 1, "worker_lost")
    assert often in row.error["message"]
    assert "retry" in row.error["message"]
    (event,) = (await store.jobs.list_events(job.id))[2:]
    assert (event.attempt, event.data["error"]["code"]) == (1, "worker_lost")


@pytest.mark.parametrize(("move", "make"), WAYS, ids=IDS)
async def test_losses_are_counted_in_a_row_an_attempt_that_ends_or_a_user_begins_anew(store, move, make):
    (source, *_) = sorted(TRANSITIONS[move].sources)
    job_id = await store.in_state(source)
    store.sql("UPDATE jobs SET losses = 2")
    await make(store, job_id)
    anew = {Move.BACK_OFF: 0, Move.SNOOZE: 0, Move.RETRY: 0}
    counted = {Move.RESCUE: 3, Move.GIVE_UP: 3}
    assert (await store.jobs.get(job_id)).job.losses == {**anew, **counted}.get(move, 2)


async def test_a_retry_begins_the_job_afresh_and_counts_on(store):
    job = await store.running(max_attempts=1)
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.FAIL, NOW, error={"code": "x", "message": "y"}))
    assert await store.jobs.retry(job.id, at(99))
    row = (await store.jobs.get(job.id)).job
    assert (row.error, row.result, row.started_at, row.finished_at, row.run_after) == (None, None, None, None, at(99))
    assert (row.attempt, row.max_attempts) == (1, 2)
