"""What has had its time goes, and nothing else."""

import asyncio
import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.errors import StorageFailedError, UnknownFileError
from service.settings import Settings
from service.states import TERMINAL, State
from service.storage.local import LocalStorage
from service.store.ids import new_id
from service.store.jobs import Jobs
from service.store.records import FirstAnswer, NewFile
from service.worker.pruner import Pruner
from tests.contracts.storage import keep, keys_of
from tests.fakes import FakeClock
from tests.integration.stores import Store, at, new_file, new_job

SETTINGS = Settings(retention_s=100, idempotency_retention_s=50, file_retention_s=500)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path, "boot")


@pytest.fixture
def pruner(store: Store, storage: LocalStorage, clock: FakeClock) -> Pruner:
    return Pruner(store.jobs, store.files, storage, SETTINGS, clock)


async def stored(storage: LocalStorage, name: str = "a.txt") -> NewFile:
    file = new_file(name)
    await keep(storage, file.id, b"x")
    return file


@pytest.mark.parametrize("state", sorted(TERMINAL))
async def test_a_finished_job_is_kept_for_its_time_and_then_goes_with_its_files(store, storage, pruner, clock, state):
    job_id = await store.in_state(state, uploads=(await stored(storage),))
    store.sql("UPDATE jobs SET finished_at = ?", int(at(0).timestamp()) * 1_000_000)
    clock.advance(100)
    await pruner.prune()
    assert await store.state(job_id) is state
    clock.advance(0.001)
    await pruner.prune()
    counts = "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM files), (SELECT count(*) FROM events)"
    assert store.sql(counts) == [(0, 0, 0)]
    assert await keys_of(storage) == []


@pytest.mark.parametrize("state", sorted(set(State) - TERMINAL))
async def test_an_unfinished_job_is_never_pruned_however_old(store, pruner, clock, state):
    job_id = await store.in_state(state)
    clock.advance(10**9)
    await pruner.prune()
    assert await store.state(job_id) is state


async def test_a_file_that_is_kept_or_that_a_younger_job_needs_stays(store, storage, pruner, clock):
    kept, shared, own = [await stored(storage) for _ in range(3)]
    await store.files.keep(kept)
    await store.in_state(State.FAILED, uploads=(shared, own), stored=(kept,))
    await store.queued(stored=(shared, kept))
    clock.advance(1000)
    await pruner.prune()
    assert await keys_of(storage) == sorted([kept.id, shared.id])


# ---- files that were stored for themselves


async def test_a_file_that_no_job_ever_used_goes_after_its_time(store, storage, pruner, clock):
    file = await stored(storage)
    await store.files.keep(file)
    clock.advance(500)
    await pruner.prune()
    assert await keys_of(storage) == [file.id]
    clock.advance(0.001)
    await pruner.prune()
    assert await keys_of(storage) == []
    assert store.sql("SELECT count(*) FROM files") == [(0,)]


@pytest.mark.parametrize("state", sorted(State))
async def test_a_file_that_a_job_has_stays_whatever_the_state_of_the_job(store, storage, clock, state):
    file = await stored(storage)
    await store.files.keep(file)
    await store.in_state(state, stored=(file,))
    clock.advance(10**6)
    settings = Settings(retention_s=10**9, file_retention_s=500)
    await Pruner(store.jobs, store.files, storage, settings, clock).prune()
    assert await keys_of(storage) == [file.id]


async def test_the_time_of_a_file_begins_when_its_last_job_went(store, storage, pruner, clock):
    file = await stored(storage)
    await store.files.keep(file)
    await store.in_state(State.SUCCEEDED, stored=(file,))
    clock.advance(1000)
    await pruner.prune()
    assert store.sql("SELECT count(*) FROM jobs") == [(0,)]
    clock.advance(500)
    await pruner.prune()
    assert await keys_of(storage) == [file.id]
    clock.advance(0.001)
    await pruner.prune()
    assert await keys_of(storage) == []


async def test_without_a_retention_of_files_they_stay_for_ever(store, storage, clock):
    file = await stored(storage)
    await store.files.keep(file)
    clock.advance(10**10)
    await Pruner(store.jobs, store.files, storage, Settings(file_retention_s=0), clock).prune()
    assert await keys_of(storage) == [file.id]


@pytest.mark.parametrize("first", ["job", "pruner"])
async def test_of_a_pruner_and_a_job_that_want_the_same_file_one_wins(store, first):
    file = new_file()
    await store.files.keep(file)
    job, pruning = store.jobs.add(new_job(stored=(file,))), store.files.delete_unused(at(1), 10)
    in_turn: list[Any] = [job, pruning] if first == "job" else [pruning, job]
    answers = await asyncio.gather(*in_turn, return_exceptions=True)
    assert ([] in answers) is (first == "job")
    assert any(isinstance(answer, UnknownFileError) for answer in answers) is (first == "pruner")
    assert store.sql("SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM jobs)") == [(int(first == "job"),) * 2]


async def test_however_many_files_have_expired_all_go(store, pruner, clock, monkeypatch):
    monkeypatch.setattr("service.worker.pruner._SLICE", 3)
    used = new_file()
    for file in (used, *(new_file() for _ in range(10))):
        await store.files.keep(file)
    await store.queued(stored=(used,))
    clock.advance(1000)
    await pruner.prune()
    assert store.sql("SELECT id FROM files") == [(used.id,)]


# ---- many, and keys


async def test_however_many_have_expired_all_go(store, pruner, clock, monkeypatch):
    monkeypatch.setattr("service.worker.pruner._SLICE", 3)
    for _ in range(10):
        await store.in_state(State.SUCCEEDED)
    clock.advance(1000)
    await pruner.prune()
    assert store.sql("SELECT count(*) FROM jobs") == [(0,)]


class RetriedInBetween(Jobs):
    """Jobs that a user retries after the pruner has listed them, and before it deletes them."""

    async def list_expired(self, before: datetime, limit: int) -> list[str]:
        expired = await super().list_expired(before, limit)
        for job_id in expired:
            await self.retry(job_id, at(1000))
        return expired


async def test_a_job_that_is_retried_while_it_is_being_pruned_is_kept(store, storage, clock):
    job_id = await store.in_state(State.FAILED, uploads=(await stored(storage),))
    clock.advance(1000)
    jobs = RetriedInBetween(store.database, store.writer, store.jobs._changes)
    await Pruner(jobs, store.files, storage, SETTINGS, clock).prune()
    record = await store.jobs.get(job_id)
    assert record.job.state is not None
    assert await store.state(job_id) is State.QUEUED
    assert await keys_of(storage) == [file.id for file in record.inputs]


async def test_idempotency_keys_are_forgotten_after_their_time_and_their_jobs_are_not(store, pruner, clock):
    old = new_job(first_answer=FirstAnswer("old", ""))
    young = new_job(first_answer=FirstAnswer("young", ""), created_at=at(30), run_after=at(30))
    await store.jobs.add(old)
    await store.jobs.add(young)
    clock.advance(51)
    await pruner.prune()
    assert await store.jobs.find_answer("old") is None
    assert await store.jobs.find_answer("young") is not None
    assert store.sql("SELECT count(*) FROM jobs") == [(2,)]


async def test_more_expired_keys_than_one_slice_holds_all_go(store, pruner, clock):
    rows = ", ".join(f"('k{n}', '', {int(at(0).timestamp())}, '{{}}')" for n in range(1201))
    store.sql(f"INSERT INTO idempotency_keys VALUES {rows}")  # noqa: S608 - no input
    clock.advance(1000)
    await pruner.prune()
    assert store.sql("SELECT count(*) FROM idempotency_keys") == [(0,)]


# ---- bytes without a row


def restarted(store: Store, tmp_path: Path, clock: FakeClock) -> Pruner:
    """Return the pruner of a later start on the same folder."""
    return Pruner(store.jobs, store.files, LocalStorage(tmp_path, "later"), SETTINGS, clock)


async def test_bytes_without_a_row_that_an_earlier_start_left_are_swept(store, storage, clock, tmp_path):
    known, orphan = await stored(storage), await stored(storage)
    await store.queued(uploads=(known,))
    assert await restarted(store, tmp_path, clock).sweep(new_id()) == 1
    assert await keys_of(storage) == [known.id]
    assert orphan.id not in await keys_of(storage)


async def test_an_upload_of_this_start_is_never_taken_for_an_orphan(storage, pruner):
    boot_id = new_id()
    fresh = await stored(storage)
    assert await pruner.sweep(boot_id) == 0
    assert await pruner.sweep(new_id()) == 0
    assert await keys_of(storage) == [fresh.id]


async def test_bytes_whose_deletion_failed_are_swept_while_the_server_lives(store, storage, pruner, clock, monkeypatch):
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds())  # ids are made by the time of the machine
    file, on_its_way = await stored(storage), await stored(storage)
    await store.files.keep(file)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        await store.files.delete(file.id)
        with pytest.raises(StorageFailedError):
            await storage.delete([file.id])
    await pruner.prune()
    assert await keys_of(storage) == sorted([file.id, on_its_way.id])
    clock.advance(3601)
    await pruner.prune()
    assert await keys_of(storage) == [on_its_way.id]


def refuse(_path: Path, *, missing_ok: bool = False) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO), missing_ok)


async def test_what_came_to_its_row_is_watched_no_longer(store, storage, pruner):
    known, on_its_way = await stored(storage), await stored(storage)
    await store.queued(uploads=(known,))
    await pruner.prune()
    assert storage.list_fresh() == [on_its_way.id]


async def test_a_sweep_leaves_alone_what_is_no_file_of_ours_and_goes_on_after_an_error(store, storage, clock, tmp_path):
    kept = tmp_path / "files" / ".keepme"
    kept.touch()
    (tmp_path / "files" / "0-folder").mkdir()
    (tmp_path / "files" / new_id() / "inside").mkdir(parents=True)  # what cannot be deleted
    orphan = await stored(storage)
    await restarted(store, tmp_path, clock).sweep(new_id())
    assert orphan.id not in await keys_of(storage)
    assert kept.exists()
    assert (tmp_path / "files" / "0-folder").is_dir()


async def test_every_orphan_of_a_large_folder_is_swept(store, storage, pruner, tmp_path):
    known = [new_file() for _ in range(40)]
    await store.queued(uploads=tuple(known))
    for file in known:
        (tmp_path / "files" / file.id).touch()
    for _ in range(2500):
        (tmp_path / "files" / new_id()).touch()
    assert await pruner.sweep(new_id()) == 2500
    assert await keys_of(storage) == sorted(file.id for file in known)
