"""Claims: one conditional UPDATE, by which one worker wins."""

import asyncio
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from service.states import State
from service.store.control import Staging
from service.store.ids import new_id
from service.store.records import Claim, FirstAnswer
from service.store.rows import KeyTakenError
from tests.integration.stores import WORKER, at, new_file, new_job, open_store


async def test_of_many_consumers_one_wins_the_claim(store):
    job_id = await store.queued()
    claims = await asyncio.gather(*(store.jobs.claim(Claim(job_id, f"w{n}", at(1))) for n in range(200)))
    assert len([claim for claim in claims if claim]) == 1
    winner = next(n for n, claim in enumerate(claims) if claim)
    assert (await store.jobs.get(job_id)).job.worker_id == f"w{winner}"
    assert await store.reasons(job_id) == ["submit", "claim"]


async def test_of_many_servers_on_one_file_one_wins_each_claim(store, database_path):
    job_ids = [await store.queued() for _ in range(40)]
    async with open_store(database_path) as second, open_store(database_path) as third:
        servers = {"first": store, "second": second, "third": third}
        claims = await asyncio.gather(
            *(server.jobs.claim(Claim(job_id, name, at(1))) for job_id in job_ids for name, server in servers.items())
        )
    wins = Counter(claim.id for claim in claims if claim)
    assert wins == dict.fromkeys(job_ids, 1)
    assert store.sql("SELECT count(*) FROM events WHERE json_extract(data, '$.reason') = 'claim'") == [(40,)]


def claim_all(path: Path, worker_id: str, job_ids: list[str]) -> list[str]:
    """Claim every job, as a server of its own; return those won."""

    async def claim() -> list[str]:
        async with open_store(path) as store:
            claims = await asyncio.gather(*(store.jobs.claim(Claim(one, worker_id, at(1))) for one in job_ids))
        return [claim.id for claim in claims if claim]

    return asyncio.run(claim())


async def test_of_two_processes_one_wins_each_claim(store, database_path):
    job_ids = [await store.queued() for _ in range(300)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as processes:
        loop = asyncio.get_running_loop()
        races = [loop.run_in_executor(processes, claim_all, database_path, name, job_ids) for name in ("a", "b")]
        won = await asyncio.gather(*races)
    assert sorted(won[0] + won[1]) == job_ids
    rows = store.sql("SELECT worker_id, id FROM jobs")
    assert {name: {one for worker, one in rows if worker == name} for name in "ab"} == {
        "a": set(won[0]),
        "b": set(won[1]),
    }


async def test_claims_of_different_jobs_in_one_transaction_are_all_won(store):
    job_ids = [await store.queued(params={"n": n}) for n in range(100)]
    before = store.writer.commits
    claims = await asyncio.gather(*(store.jobs.claim(Claim(job_id, WORKER, at(1))) for job_id in job_ids))
    assert [claim.id for claim in claims if claim] == job_ids
    assert [claim.params for claim in claims if claim] == [{"n": n} for n in range(100)]
    assert store.writer.commits == before + 1


async def test_two_workers_that_claim_in_one_transaction_each_hold_their_own_job(store):
    one, two = await store.queued(), await store.queued()
    await asyncio.gather(store.jobs.claim(Claim(one, "w1", at(1))), store.jobs.claim(Claim(two, "w2", at(1))))
    assert [(await store.jobs.get(job_id)).job.worker_id for job_id in (one, two)] == ["w1", "w2"]


async def test_a_job_is_added_and_claimed_in_one_commit_in_whatever_order_they_come(store):
    first, second = new_job(), new_job()
    before = store.writer.commits
    claims = [store.jobs.claim(Claim(new.id, WORKER, at(1))) for new in (first, second)]
    one, _, two, _ = await asyncio.gather(claims[0], store.jobs.add(first), claims[1], store.jobs.add(second))
    assert (one.id, two.id) == (first.id, second.id)
    assert store.writer.commits == before + 1
    assert await store.reasons(first.id) == await store.reasons(second.id) == ["submit", "claim"]


async def test_claims_of_one_commit_keep_their_own_moments(store):
    early = await store.queued()
    late = new_job(created_at=at(2), run_after=at(2))
    _, _, claimed = await asyncio.gather(
        store.jobs.claim(Claim(early, WORKER, at(1))),
        store.jobs.add(late),
        store.jobs.claim(Claim(late.id, WORKER, at(3))),
    )
    assert claimed.started_at == at(3)
    assert [event.at for event in await store.jobs.list_events(late.id)] == [at(2), at(3)]


async def test_what_is_claimed_and_put_back_in_one_commit_is_queued(store):
    job_id = await store.queued()
    before = store.writer.commits
    claimed, released = await asyncio.gather(
        store.jobs.claim(Claim(job_id, WORKER, at(1))), store.jobs.release(WORKER, at(2))
    )
    assert store.writer.commits == before + 1
    assert claimed.id == job_id
    assert released == 1
    job = (await store.jobs.get(job_id)).job
    assert (job.state, job.attempt) == (State.QUEUED, 0)


async def test_the_claim_on_a_job_that_could_not_be_added_finds_nothing_and_harms_no_other(store):
    key = FirstAnswer("jobs:k", "")
    await store.jobs.add(new_job(first_answer=key))
    refused, fine = new_job(first_answer=key), new_job()
    answers: Any = await asyncio.gather(
        store.jobs.add(refused),
        store.jobs.claim(Claim(refused.id, WORKER, at(1))),
        store.jobs.add(fine),
        store.jobs.claim(Claim(fine.id, WORKER, at(1))),
        return_exceptions=True,
    )
    assert isinstance(answers[0], KeyTakenError)
    assert answers[1] is None
    assert answers[3].id == fine.id


async def test_a_claim_gives_all_that_is_needed_to_run_the_job(store):
    stored, uploaded = new_file("stored.txt"), new_file("uploaded.txt")
    await store.files.keep(stored)
    new = new_job(
        "t.two", params={"a": [1]}, metadata={"b": "ü"}, priority=7, max_attempts=5, timeout_s=1.5,
        uploads=(uploaded,), stored=(stored,),
    )  # fmt: skip
    await store.jobs.add(new)
    claimed = await store.jobs.claim(Claim(new.id, WORKER, at(3)))
    assert claimed is not None
    assert (claimed.processor, claimed.params, claimed.metadata) == ("t.two", {"a": [1]}, {"b": "ü"})
    assert (claimed.priority, claimed.attempt, claimed.max_attempts, claimed.timeout_s) == (7, 1, 5, 1.5)
    assert claimed.inputs == (uploaded, stored)
    row = (await store.jobs.get(new.id)).job
    assert (row.started_at, row.worker_id, row.state) == (at(3), WORKER, State.RUNNING)


async def test_a_job_put_off_cannot_be_claimed_before_it_was_staged(store):
    job_id = await store.queued(delay_s=60)
    assert await store.jobs.claim(Claim(job_id, WORKER, at(1))) is None
    assert await store.jobs.stage(Staging(at(60), 10)) == 1
    assert await store.jobs.claim(Claim(job_id, WORKER, at(60))) is not None


async def test_a_cancelled_job_and_one_that_never_was_cannot_be_claimed(store):
    job_id = await store.queued()
    await store.jobs.cancel(job_id, at(1))
    assert await store.jobs.claim(Claim(job_id, WORKER, at(2))) is None
    assert await store.jobs.claim(Claim(new_id(), WORKER, at(2))) is None
    assert await store.reasons(job_id) == ["submit", "cancel"]


async def test_a_claim_and_a_cancellation_at_once_leave_the_job_cancelled(store):
    for _ in range(20):
        job_id = await store.queued()
        await asyncio.gather(store.jobs.claim(Claim(job_id, WORKER, at(1))), store.jobs.cancel(job_id, at(1)))
        row = (await store.jobs.get(job_id)).job
        assert (row.state, row.worker_id) == (State.CANCELLED, None)


async def test_a_job_is_deleted_or_claimed_but_never_both(store, database_path):
    async with open_store(database_path) as second:
        for _ in range(20):
            job_id = await store.queued()
            claim, (deleted, _) = await asyncio.gather(
                second.jobs.claim(Claim(job_id, WORKER, at(1))), store.files.delete_with_jobs([job_id])
            )
            assert (claim is None) == (deleted == 1)
