"""What users do to jobs and files: delete, keys, lists."""

import asyncio

import pytest

from service.errors import FileInUseError, JobNotFoundError, StoredFileNotFoundError, UnknownFileError
from service.states import Move, State
from service.store.files import first_file
from service.store.ids import new_id
from service.store.jobs import first_job
from service.store.listing import JobFilter
from service.store.records import Claim, FirstAnswer, Settlement
from service.store.rows import KeyTakenError
from tests.integration.stores import WORKER, at, ids_of, new_file, new_job


async def names_left(store):
    return sorted(name for (name,) in store.sql("SELECT name FROM files"))


# ---- adding


async def test_a_job_is_answered_as_it_is_stored(store):
    new = new_job(uploads=(new_file("in"),), priority=3, params={"a": 1}, metadata={"b": [2]})
    answered, stored = await store.jobs.add(new), await store.jobs.get(new.id)
    for ours, theirs in ((answered.job, stored.job), (answered.inputs[0], stored.inputs[0])):
        columns = type(ours).model_fields
        assert {name: getattr(ours, name) for name in columns} == {name: getattr(theirs, name) for name in columns}


# ---- deleting


async def test_a_job_is_deleted_with_its_files_and_its_events(store):
    upload, output = new_file("in"), new_file("out")
    job = await store.running(uploads=(upload,))
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.SUCCEED, at(1), outputs=(output,)))
    count, file_ids = await store.files.delete_with_jobs([job.id])
    assert (count, sorted(file_ids)) == (1, sorted([upload.id, output.id]))
    for table in ("jobs", "files", "job_files", "events"):
        assert store.sql(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 - no input


async def test_a_file_that_was_stored_for_itself_or_belongs_to_another_job_stays(store):
    kept, shared, own = new_file("kept"), new_file("shared"), new_file("own")
    await store.files.keep(kept)
    first = await store.queued(uploads=(own, shared), stored=(kept,))
    await store.queued(stored=(shared, kept))
    assert await store.files.delete_with_jobs([first]) == (1, [own.id])
    assert await names_left(store) == ["kept", "shared"]


async def test_of_many_jobs_only_those_that_do_not_run_are_deleted(store):
    job_ids = {state: await store.in_state(state) for state in State}
    count, _ = await store.files.delete_with_jobs([*job_ids.values(), new_id()])
    assert count == 4
    assert store.sql("SELECT id FROM jobs") == [(job_ids[State.RUNNING],)]


async def test_a_file_is_deleted_unless_an_unfinished_job_needs_it(store):
    file = new_file()
    await store.files.keep(file)
    job_id = await store.queued(stored=(file,))
    with pytest.raises(FileInUseError, match=file.id):
        await store.files.delete(file.id)
    await store.jobs.claim(Claim(job_id, WORKER, at(0)))
    with pytest.raises(FileInUseError):
        await store.files.delete(file.id)
    await store.jobs.cancel(job_id, at(1))
    await store.files.delete(file.id)
    with pytest.raises(StoredFileNotFoundError):
        await store.files.get(file.id)
    assert (await store.jobs.get(job_id)).inputs == ()


async def test_a_file_that_is_not_there_cannot_be_deleted_or_given_to_a_job(store):
    gone = new_file()
    with pytest.raises(StoredFileNotFoundError):
        await store.files.delete(gone.id)
    with pytest.raises(UnknownFileError):
        await store.queued(stored=(gone,))
    assert store.sql("SELECT count(*) FROM jobs") == [(0,)]


async def test_a_job_whose_file_is_gone_fails_alone_among_many(store):
    jobs = [new_job(uploads=(new_file(),)) for _ in range(10)]
    jobs[4] = new_job(uploads=(new_file(),), stored=(new_file(),))
    answers = await asyncio.gather(*map(store.jobs.add, jobs), return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["JobRecord"] * 4 + ["UnknownFileError"] + ["JobRecord"] * 5
    assert store.sql("SELECT count(*) FROM files") == [(9,)]


# ---- idempotency keys


async def test_of_many_submissions_with_one_key_one_is_made(store):
    jobs = [new_job(first_answer=FirstAnswer("key", "print"), uploads=(new_file(),)) for _ in range(20)]
    answers = await asyncio.gather(*map(store.jobs.add, jobs), return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, Exception)]
    assert len(made) == 1
    assert {type(answer) for answer in answers if isinstance(answer, Exception)} == {KeyTakenError}
    assert store.sql("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM files)") == [(1, 1)]


async def test_a_key_gives_back_the_first_answer_as_it_was_then(store):
    new = new_job(first_answer=FirstAnswer("key", "print"), uploads=(new_file(),), params={"ä": [1.5]}, delay_s=9)
    made = await store.jobs.add(new)
    await store.jobs.cancel(new.id, at(1))
    answer = await store.jobs.find_answer("key")
    assert answer.fingerprint == "print"
    again = first_job(answer)
    assert again is not None
    assert again.job.model_dump(warnings=False) == made.job.model_dump(warnings=False)
    assert [file.model_dump(warnings=False) for file in again.inputs] == [
        file.model_dump(warnings=False) for file in made.inputs
    ]
    assert first_file(answer) is None


async def test_a_key_of_a_stored_file_gives_back_the_file(store):
    file = new_file("ü.txt")
    await store.files.keep(file, FirstAnswer("key", "print"))
    answer = await store.jobs.find_answer("key")
    first = first_file(answer)
    assert first is not None
    assert first.model_dump(warnings=False) == (await store.files.get(file.id)).model_dump(warnings=False) | {
        "kept": False
    }
    assert first_job(answer) is None
    with pytest.raises(KeyTakenError):
        await store.files.keep(new_file(), FirstAnswer("key", "print"))
    assert store.sql("SELECT count(*) FROM files") == [(1,)]


async def test_a_key_that_nobody_used_has_no_answer(store):
    assert await store.jobs.find_answer("key") is None


# ---- looking


async def test_a_job_that_is_not_there_is_not_found(store):
    with pytest.raises(JobNotFoundError, match="there is no job x"):
        await store.jobs.get("x")
    with pytest.raises(JobNotFoundError):
        await store.jobs.wait(new_id(), 1)


async def test_all_that_was_submitted_comes_back(store):
    upload, stored = new_file("a"), new_file("b")
    await store.files.keep(stored)
    new = new_job(
        priority=-3, params={"x": None}, metadata={"k": ["ü"]}, max_attempts=7, timeout_s=0.5, delay_s=1.000001,
        uploads=(upload,), stored=(stored,),
    )  # fmt: skip
    said = await store.jobs.add(new)
    found = await store.jobs.get(new.id)
    assert found.job.model_dump(warnings=False) == said.job.model_dump(warnings=False)
    assert (found.job.priority, found.job.params, found.job.metadata_) == (-3, {"x": None}, {"k": ["ü"]})
    assert (found.job.created_at, found.job.run_after) == (at(0), at(1.000001))
    assert [file.name for file in found.inputs] == ["a", "b"]


async def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(store):
    job_ids = [await store.queued() for _ in range(25)]
    seen, before = [], None
    while page := ids_of((await store.jobs.list_page(JobFilter(limit=7, before_id=before))).records):
        seen += page
        before = page[-1]
    assert seen == job_ids[::-1]


async def test_a_list_holds_what_the_filter_says(store):
    by_state = {state: await store.in_state(state) for state in State}
    other = await store.queued(processor="t.other")
    for state, job_id in by_state.items():
        found = ids_of((await store.jobs.list_page(JobFilter(state=state, processor="t.one"))).records)
        assert found == [job_id]
    assert ids_of((await store.jobs.list_page(JobFilter(processor="t.other"))).records) == [other]
    assert (await store.jobs.list_page(JobFilter(created_before=at(-(10**9))))).records == []
    assert len((await store.jobs.list_page(JobFilter(created_after=at(-(10**9))))).records) == 6


async def test_each_job_of_a_page_has_its_own_files(store):
    job_ids = [await store.queued(uploads=(new_file(f"{n}a"), new_file(f"{n}b"))) for n in range(3)]
    page = (await store.jobs.list_page(JobFilter())).records
    assert ids_of(page) == job_ids[::-1]
    assert [[file.name for file in record.inputs] for record in page] == [["2a", "2b"], ["1a", "1b"], ["0a", "0b"]]


async def test_what_is_ready_of_each_processor_comes_by_priority_then_by_age_and_never_too_early(store):
    low = await store.queued(priority=-1)
    old = await store.queued()
    await store.queued(delay_s=60, priority=9)
    high = await store.queued(processor="t.two", priority=5)
    young = await store.queued()
    await store.queued(processor="t.elsewhere", priority=9)
    ready = await store.jobs.list_ready(["t.one", "t.two"], 10)
    assert [one.id for one in ready] == [old, young, low, high]
    assert [one.id for one in await store.jobs.list_ready(["t.one", "t.two"], 2)] == [old, young, high]
    assert await store.jobs.list_ready([], 10) == []


async def test_who_waits_for_a_job_is_told_of_its_end(store):
    job = await store.running()
    waiting = asyncio.create_task(store.jobs.wait(job.id, 60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.SUCCEED, at(1)))
    async with asyncio.timeout(60):
        await waiting
        await store.jobs.wait(job.id, 60)  # it has ended: no need to wait


async def test_who_waits_too_long_is_let_go(store):
    job_id = await store.queued()
    async with asyncio.timeout(60):
        await store.jobs.wait(job_id, 0.01)
    assert await store.state(job_id) is State.QUEUED


async def test_a_database_that_takes_writes_is_in_good_health_and_unchanged(store):
    before = store.sql("SELECT * FROM alembic_version")
    await store.jobs.check()
    assert store.sql("SELECT * FROM alembic_version") == before
