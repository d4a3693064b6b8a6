"""A start after a death: what was accepted goes on, and what was not leaves nothing."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.runtime import open_runtime
from service.settings import Settings
from service.states import State
from service.storage.local import LocalStorage
from service.store.ids import new_id
from service.store.records import Claim
from tests.contracts.storage import keep, keys_of
from tests.integration.stores import Store, at, new_file, new_job, open_store


@pytest.fixture
def data_dir(settings: Settings, empty_database: Path) -> Path:
    settings.data_dir.mkdir()
    shutil.copy(empty_database, settings.data_dir / "filemill.db")
    return settings.data_dir


async def restart(settings: Settings, job_ids: Sequence[str] = ()) -> None:
    """Start the service, wait for the jobs and for the sweep, and stop it."""
    async with open_runtime(settings) as runtime, asyncio.timeout(30):
        await asyncio.gather(*(runtime.jobs.wait(job_id, 30) for job_id in job_ids))
        while {path.name for path in (settings.data_dir / "incoming").iterdir()} & {"dead"}:
            await asyncio.sleep(0)


async def ready_job(store: Store, **changes: Any) -> str:
    new = new_job("t.read", **changes)
    await store.jobs.add(new)
    return new.id


async def test_jobs_that_waited_and_jobs_that_ran_reach_their_end(settings, data_dir):
    async with open_store(data_dir / "filemill.db") as store:
        waiting = [await ready_job(store) for _ in range(5)]
        running = [await ready_job(store) for _ in range(5)]
        for job_id in running:
            await store.jobs.claim(Claim(job_id, "dead", at(0)))
        due = await ready_job(store, delay_s=60)
    await restart(settings, [*waiting, *running, due])
    async with open_store(data_dir / "filemill.db") as store:
        assert {await store.state(job_id) for job_id in [*waiting, *running, due]} == {State.SUCCEEDED}
        assert await store.reasons(running[0]) == ["submit", "claim", "rescue", "claim", "succeed"]
        assert (await store.jobs.get(running[0])).job.attempt == 1


async def test_a_job_whose_only_attempt_was_lost_runs_again_and_the_next_start_gives_it_its_chance(settings, data_dir):
    async with open_store(data_dir / "filemill.db") as store:
        job_ids = [await ready_job(store, max_attempts=1) for _ in range(3)]
        for losses, job_id in zip((0, 1, 3), job_ids, strict=True):
            await store.jobs.claim(Claim(job_id, "dead", at(0)))
            store.sql("UPDATE jobs SET losses = ? WHERE id = ?", losses, job_id)
    await restart(settings, job_ids[:1])
    async with open_store(data_dir / "filemill.db") as store:
        rows = [(await store.jobs.get(job_id)).job for job_id in job_ids]
        assert [(row.state, row.losses) for row in rows[:1]] == [(State.SUCCEEDED, 1)]
        assert [row.losses for row in rows[1:]] == [2, 4]
        store.sql("UPDATE jobs SET run_after = created_at")
    await restart(settings, job_ids)
    async with open_store(data_dir / "filemill.db") as store:
        assert {await store.state(job_id) for job_id in job_ids} == {State.SUCCEEDED}


@pytest.mark.settings(max_losses=3)
async def test_a_job_that_the_server_died_under_too_often_fails(settings, data_dir):
    async with open_store(data_dir / "filemill.db") as store:
        job_id = await ready_job(store)
        await store.jobs.claim(Claim(job_id, "dead", at(0)))
        store.sql("UPDATE jobs SET losses = 2")
    await restart(settings, [job_id])
    async with open_store(data_dir / "filemill.db") as store:
        assert await store.reasons(job_id) == ["submit", "claim", "give_up"]


@pytest.mark.settings(file_retention_s=0)  # the file that is known belongs to no job, and its row is old
async def test_an_unfinished_upload_and_bytes_without_a_row_leave_nothing(settings, data_dir):
    storage = LocalStorage(data_dir, "dead")
    (data_dir / "incoming" / "dead" / new_id()).write_bytes(b"half")
    (data_dir / "work" / "dead" / "job-1").mkdir(parents=True)
    known, orphan = new_file(), new_file()
    for file in (known, orphan):
        await keep(storage, file.id, b"x")
    async with open_store(data_dir / "filemill.db") as store:
        await store.files.keep(known)
    async with open_runtime(settings), asyncio.timeout(60):
        while await keys_of(storage) != [known.id]:
            await asyncio.sleep(0)
    assert not (data_dir / "incoming" / "dead").exists()
    assert not (data_dir / "work" / "dead").exists()


@pytest.mark.settings(shutdown_grace_s=0)
async def test_a_stop_in_the_middle_of_a_job_puts_it_back_uncounted_and_the_next_start_ends_it(settings, data_dir):
    async with open_store(data_dir / "filemill.db") as store:
        held = new_job("t.hold")
        await store.jobs.add(held)
    async with open_runtime(settings) as runtime, asyncio.timeout(30):
        await runtime.registry["t.hold"].function.__globals__["gate"].reached.wait()
    async with open_store(data_dir / "filemill.db") as store:
        job = (await store.jobs.get(held.id)).job
        assert (job.state, job.attempt, job.worker_id) == (State.QUEUED, 0, None)
    async with open_runtime(settings) as runtime, asyncio.timeout(30):
        runtime.registry["t.hold"].function.__globals__["gate"].opened.set()
        await runtime.jobs.wait(held.id, 30)
        assert (await runtime.jobs.get(held.id)).job.attempt == 1
