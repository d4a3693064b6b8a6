"""One job, from its claim to its settlement, with real storage and a real database."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service import Fail, JobContext, Retry, Snooze, processor
from service.boot_folder import BootFolder
from service.meters import Meters
from service.processors.base import Note, OutputFile, Processor
from service.processors.registry import Registry
from service.settings import Settings
from service.states import State
from service.storage.local import LocalStorage
from service.storage.trial import PROBE
from service.store.control import Staging
from service.store.records import Claim, NewFile
from service.worker.attempt import Attempt
from service.worker.executor import Executor
from service.worker.ledger import Ledger
from service.worker.runner import Assignment, Broke, LoopRunner, Returned, Verdict
from tests.contracts.storage import keys_of, read
from tests.fakes import FakeClock
from tests.integration.stores import WORKER, Store, at, new_file, new_job


@processor("t.loop", min_files=0)
async def on_loop(job: JobContext) -> Any:
    """Do what the test asks for."""
    return await steps[job.metadata["step"]](job)


@processor("t.child", min_files=0)
def in_child(job: JobContext) -> None:
    """Stand for a processor that runs elsewhere: `Elsewhere` does its work."""


steps: dict[str, Callable[[JobContext], Any]] = {}


def step(function: Callable[[JobContext], Any]) -> Callable[[JobContext], Any]:
    steps[function.__name__] = function
    return function


@step
async def greet(job: JobContext) -> dict[str, Any]:
    return {"attempt": job.attempt, "of": job.max_attempts, "read": [file.path.read_text() for file in job.files]}


@step
async def write_two(job: JobContext) -> None:
    job.output("first.txt").write_text("one")
    job.output("../second.txt").write_text("two")


@step
async def fail_for_good(_job: JobContext) -> None:
    raise Fail("it cannot be done", code="impossible")


@step
async def crash(_job: JobContext) -> None:
    raise RuntimeError("boom")


@step
async def ask_for_retry(_job: JobContext) -> None:
    raise Retry("not yet", delay_s=30)


@step
async def snooze(_job: JobContext) -> None:
    raise Snooze(60)


@step
async def snooze_for_ages(_job: JobContext) -> None:
    raise Snooze(1e15)


@step
async def tell(job: JobContext) -> None:
    job.progress(0.5, "half")
    job.log("a line", path=Path("/a"), size=float("inf"))


@step
async def tell_nonsense(job: JobContext) -> str:
    job.progress(float("nan"), "\ud800")
    return "done"


@step
async def name_output_badly(job: JobContext) -> None:
    job.output("\udcff.txt").write_text("x")


@step
async def await_generator_exit(_job: JobContext) -> None:
    async def end() -> None:
        raise GeneratorExit("out of a task")

    await asyncio.create_task(end())


class Elsewhere:
    """Runs nothing: waits for the verdict that the test gives, or until it is stopped."""

    def __init__(self) -> None:
        self._verdict: Verdict = Returned(None)
        self._given = asyncio.Event()
        self.assignments: list[Assignment] = []
        self.begun = asyncio.Event()
        self.stopped = asyncio.Event()

    async def run(self, assignment: Assignment, emit: Callable[[Note], None]) -> Verdict:  # noqa: ARG002 - the protocol
        self.assignments.append(assignment)
        self.begun.set()
        try:
            await self._given.wait()
        finally:
            self.stopped.set()
        return self._verdict

    def give(self, verdict: Verdict) -> None:
        """Let the attempt that runs, and all after it, come to this."""
        self._verdict = verdict
        self._given.set()

    async def aclose(self) -> None:
        """Nothing is left."""


@dataclass(frozen=True, slots=True)
class Bench:
    """An executor with all that it works on."""

    store: Store
    storage: LocalStorage
    executor: Executor
    elsewhere: Elsewhere
    work: Path
    clock: FakeClock

    async def execute(self, processor: Processor, step: str = "", **changes: Any) -> str:
        """Submit a job and run an attempt; return its id."""
        job_id = await self.store.queued(processor=processor.name, metadata={"step": step}, **changes)
        await self.executor.execute(job_id)
        return job_id

    async def begin(self, **changes: Any) -> tuple[str, asyncio.Task[None]]:
        """Submit a job that runs until it is stopped."""
        job_id = await self.store.queued(processor="t.child", **changes)
        task = asyncio.create_task(self.executor.execute(job_id))
        await self.elsewhere.begun.wait()
        return job_id, task

    async def stored(self, text: str) -> NewFile:
        """Store a file, bytes and all, for a job to be submitted with."""
        file = new_file()
        async with self.storage.upload(file.id) as upload:
            await upload.write(text.encode())
            stored = await upload.keep()
        return replace(file, size_bytes=stored.size_bytes, sha256=stored.sha256)


@pytest.fixture
def bench(store: Store, tmp_path: Path, clock: FakeClock) -> Bench:
    storage, work = LocalStorage(tmp_path, WORKER), BootFolder(tmp_path / "work", WORKER).path
    elsewhere = Elsewhere()
    settings = Settings(retry_base_s=2, retry_cap_s=100)
    ledger = Ledger(WORKER, store.jobs, storage, settings=settings, meters=Meters(), clock=clock)
    executor = Executor(
        ledger, storage, Registry(iter([on_loop, in_child])), {"loop": LoopRunner(), "child": elsewhere},
        work=work, settings=settings,
    )  # fmt: skip
    return Bench(store, storage, executor, elsewhere, work, clock)


# ---- what an attempt may come to


async def test_a_processor_that_returns_ends_its_job_with_its_result(bench):
    file = await bench.stored("hello")
    job_id = await bench.execute(on_loop, "greet", uploads=(file,))
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.result) == (State.SUCCEEDED, {"attempt": 1, "of": 3, "read": ["hello"]})
    assert await bench.store.reasons(job_id) == ["submit", "claim", "succeed"]


async def test_outputs_are_stored_in_order_under_the_names_that_were_given(bench):
    job_id = await bench.execute(on_loop, "write_two")
    outputs = (await bench.store.jobs.get(job_id)).outputs
    assert [(file.name, file.size_bytes, file.media_type) for file in outputs] == [
        ("first.txt", 3, "text/plain"),
        ("../second.txt", 3, "text/plain"),
    ]
    assert [await read(bench.storage, file.id) for file in outputs] == [b"one", b"two"]
    assert await keys_of(bench.storage) == sorted(file.id for file in outputs)


async def test_fail_ends_a_job_without_another_attempt(bench):
    with capture_logs() as lines:
        job_id = await bench.execute(on_loop, "fail_for_good")
    assert lines == [
        {
            "event": "job failed", "log_level": "warning", "job_id": job_id, "processor": "t.loop", "attempt": 1,
            "code": "impossible", "error": "it cannot be done",
        }
    ]  # fmt: skip
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt) == (State.FAILED, 1)
    assert job.error == {"code": "impossible", "message": "it cannot be done"}


async def test_a_failed_attempt_is_tried_again_after_a_random_delay_below_the_limit_and_then_no_more(bench):
    job_id = await bench.execute(on_loop, "crash", max_attempts=3)
    for attempt, limit_s in [(1, 2), (2, 4)]:
        job = (await bench.store.jobs.get(job_id)).job
        assert (job.state, job.attempt) == (State.QUEUED, attempt)
        assert bench.clock.now() <= job.run_after <= at(limit_s) + (bench.clock.now() - at(0))
        bench.clock.advance(10)
        await bench.store.jobs.stage(Staging(bench.clock.now(), 10))
        await bench.executor.execute(job_id)
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt, job.error["message"]) == (State.FAILED, 3, "RuntimeError: boom")
    assert await bench.store.reasons(job_id) == [
        "submit", "claim", "back_off", "claim", "back_off", "claim", "fail",
    ]  # fmt: skip


async def test_a_processor_may_say_when_to_try_again(bench):
    job_id = await bench.execute(on_loop, "ask_for_retry")
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt, job.run_after) == (State.QUEUED, 1, at(30))


async def test_a_snooze_does_not_count(bench):
    job_id = await bench.execute(on_loop, "snooze", max_attempts=1)
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt, job.run_after, job.error) == (State.QUEUED, 0, at(60), None)


async def test_a_job_whose_processor_is_gone_fails_and_says_so(bench):
    job_id = await bench.store.queued(processor="t.gone")
    await bench.executor.execute(job_id)
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.error["code"]) == (State.FAILED, "unknown_processor")


async def test_a_job_that_somebody_else_has_is_left_to_them(bench):
    job = await bench.store.running("worker-2", processor="t.loop", metadata={"step": "greet"})
    await bench.executor.execute(job.id)
    assert await bench.store.reasons(job.id) == ["submit", "claim"]


async def test_of_many_tickets_for_one_job_one_runs_it(bench):
    bench.elsewhere.give(Returned("once"))
    job_id = await bench.store.queued(processor="t.child")
    await asyncio.gather(*(bench.executor.execute(job_id) for _ in range(20)))
    assert len(bench.elsewhere.assignments) == 1
    assert await bench.store.reasons(job_id) == ["submit", "claim", "succeed"]


async def test_progress_and_log_lines_are_written_before_the_end(bench):
    job_id = await bench.execute(on_loop, "tell")
    events = await bench.store.jobs.list_events(job_id)
    assert [event.kind for event in events] == ["state", "state", "log", "progress", "state"]
    assert events[2].data["message"] == "a line"
    assert events[2].data["fields"].keys() == {"path", "size"}
    assert events[3].data == {"fraction": 0.5, "message": "half"}


async def test_notes_that_cannot_be_kept_do_not_cost_the_job_its_result(bench):
    job_id = await bench.execute(on_loop, "tell_nonsense")
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.result) == (State.SUCCEEDED, "done")


# ---- what goes wrong around an attempt


async def test_an_output_that_cannot_be_stored_fails_the_attempt_and_leaves_none_of_the_others(bench, tmp_path):
    (tmp_path / "made").write_text("made")
    outputs = (OutputFile("a", tmp_path / "made"), OutputFile("b", tmp_path / "missing"))
    bench.elsewhere.give(Returned(None, outputs))
    job_id = await bench.execute(in_child, max_attempts=1)
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.error["code"]) == (State.FAILED, "storage_failed")
    assert await keys_of(bench.storage) == []


async def test_outputs_of_a_zombie_are_deleted(bench, tmp_path):
    job_id, task = await bench.begin()
    await bench.store.rescue(at(1), "worker-2")
    await bench.store.jobs.claim(Claim(job_id, "worker-2", at(2)))
    (tmp_path / "made").write_text("made")
    bench.elsewhere.give(Returned("late", (OutputFile("a", tmp_path / "made"),)))
    await task
    assert await bench.store.state(job_id) is State.RUNNING
    assert await keys_of(bench.storage) == []


@pytest.mark.parametrize("step", ["snooze_for_ages", "name_output_badly"])
async def test_whatever_a_processor_does_its_job_is_settled(bench, step):
    job_id = await bench.store.queued(processor="t.loop", metadata={"step": step})
    await asyncio.gather(bench.executor.execute(job_id), return_exceptions=True)
    assert await bench.store.state(job_id) is not State.RUNNING


async def test_a_folder_that_cannot_be_made_fails_the_attempt(bench):
    bench.elsewhere.give(Returned(None))
    bench.work.rmdir()
    job_id = await bench.store.queued(processor="t.child")
    await asyncio.gather(bench.executor.execute(job_id), return_exceptions=True)
    assert await bench.store.state(job_id) is not State.RUNNING


async def test_the_time_of_an_attempt_begins_when_it_has_its_inputs(bench, monkeypatch):
    events, make = [], bench.executor._views.make

    async def make_late(*args, **options):
        files = await make(*args, **options)
        events.append("inputs")
        return files

    monkeypatch.setattr(bench.executor._views, "make", make_late)
    monkeypatch.setattr(Attempt, "expect_end_within", lambda _attempt, limit_s: events.append(limit_s))
    await bench.execute(on_loop, "greet", uploads=(await bench.stored("hello"),), timeout_s=7)
    assert events == ["inputs", 7]


# ---- being stopped


async def test_a_cancelled_job_is_stopped_and_stays_cancelled(bench):
    job_id, task = await bench.begin()
    assert bench.executor.running == 1
    await bench.store.jobs.cancel(job_id, at(1))
    bench.executor.interrupt(job_id)
    await task
    assert bench.elsewhere.stopped.is_set()
    assert await bench.store.reasons(job_id) == ["submit", "claim", "cancel"]
    assert bench.executor.running == 0


async def test_an_attempt_elsewhere_that_code_on_the_loop_cancels_is_put_back_and_does_not_count(bench):
    job_id, task = await bench.begin(max_attempts=1)
    bench.executor._attempts[job_id]._task.cancel()
    await task
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt, job.worker_id) == (State.QUEUED, 0, None)


@step
async def cancel_itself(_job: JobContext) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(3600)


@step
async def await_what_it_cancelled(_job: JobContext) -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    await task


@step
async def leave(_job: JobContext) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("step", ["cancel_itself", "await_what_it_cancelled", "leave"])
async def test_an_attempt_that_ends_itself_has_failed_and_counts(bench, step):
    async with asyncio.timeout(20):
        job_id = await bench.execute(on_loop, step, max_attempts=1)
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt, job.error["code"]) == (State.FAILED, 1, "failed")
    assert not bench.executor.holds(job_id)


async def test_to_interrupt_a_job_that_does_not_run_here_does_nothing(bench):
    bench.executor.interrupt("none")
    assert bench.executor.running == 0


async def test_an_executor_that_is_stopped_puts_its_job_back_without_counting_the_attempt(bench):
    job_id, task = await bench.begin(max_attempts=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.attempt, job.worker_id, job.run_after) == (State.QUEUED, 0, None, at(0))
    assert bench.elsewhere.stopped.is_set()
    assert [one.id for one in await bench.store.jobs.list_ready(["t.child"], 10)] == [job_id]


async def test_each_attempt_has_a_folder_of_its_own_and_none_is_left(bench):
    bench.elsewhere.give(Broke("failed", "no", delay_s=0))
    job_id = await bench.execute(in_child)
    assert await bench.store.jobs.stage(Staging(at(1), 1)) == 1
    await bench.executor.execute(job_id)
    first, second = (assignment.folder.name for assignment in bench.elsewhere.assignments)
    assert first != second
    assert list(bench.work.iterdir()) == []


async def test_a_job_that_was_cancelled_and_retried_is_not_settled_by_its_first_attempt(bench):
    job_id, first = await bench.begin()
    await bench.store.jobs.cancel(job_id, at(1))
    await bench.store.jobs.retry(job_id, at(2))
    bench.elsewhere.give(Returned("second"))
    await asyncio.gather(first, bench.executor.execute(job_id))
    job = (await bench.store.jobs.get(job_id)).job
    assert (job.state, job.result, job.attempt) == (State.SUCCEEDED, "second", 2)
    assert await bench.store.reasons(job_id) == ["submit", "claim", "cancel", "retry", "claim", "succeed"]


async def test_the_end_of_an_old_attempt_does_not_hide_that_a_new_one_was_begun(bench):
    job_id, first = await bench.begin()
    old = bench.executor._attempts[job_id]
    await bench.store.jobs.cancel(job_id, at(1))
    await bench.store.jobs.retry(job_id, at(2))
    bench.elsewhere.begun.clear()
    second = asyncio.create_task(bench.executor.execute(job_id))
    await bench.elsewhere.begun.wait()
    old.stop()
    await first
    (held,) = await bench.store.jobs.list_held(WORKER)
    assert await bench.executor.free(held)
    assert (await bench.store.jobs.get(job_id)).job.attempt == 2  # it counts
    bench.elsewhere.give(Returned("late"))
    await second


async def test_a_job_deleted_while_it_is_being_cancelled_leaves_no_file(bench):
    job = new_job("t.child", uploads=(await bench.stored("in"),))
    await bench.store.jobs.add(job)
    task = asyncio.create_task(bench.executor.execute(job.id))
    await bench.elsewhere.begun.wait()
    await bench.store.jobs.cancel(job.id, at(1))
    _, file_ids = await bench.store.files.delete_with_jobs([job.id])
    await bench.storage.delete(file_ids)
    bench.executor.interrupt(job.id)
    await task
    assert await keys_of(bench.storage) == []
    assert list(bench.work.iterdir()) == []


async def test_a_folder_that_became_a_link_is_removed_and_what_it_leads_to_is_not(bench, tmp_path):
    (elsewhere := tmp_path / "elsewhere").mkdir()
    _, task = await bench.begin()
    folder = bench.elsewhere.assignments[0].folder
    folder.rmdir()
    folder.symlink_to(elsewhere)
    bench.elsewhere.give(Returned(None))
    await task
    assert (list(bench.work.iterdir()), elsewhere.is_dir()) == ([], True)


async def test_what_an_attempt_has_put_beside_its_folder_goes_when_nobody_runs(bench):
    _, task = await bench.begin()
    (bench.work / "report.pdf").touch()
    (bench.work / "moved").mkdir(mode=0)
    (bench.work / PROBE).touch()  # of a trial that is under way
    await bench.executor.clear()
    assert len(list(bench.work.iterdir())) == 4
    bench.elsewhere.give(Returned(None))
    await task
    await bench.executor.clear()
    assert list(bench.work.iterdir()) == [bench.work / PROBE]


async def test_a_folder_that_could_not_be_removed_is_removed_later(bench, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_rest: None)  # as out of descriptors
    bench.elsewhere.give(Returned(None))
    await bench.execute(in_child)
    assert len(list(bench.work.iterdir())) == 1
    monkeypatch.undo()
    await bench.executor.clear()
    assert list(bench.work.iterdir()) == []


async def test_the_generator_exit_of_a_task_that_it_awaits_is_the_processors_own_failure(bench):
    job_id = await bench.execute(on_loop, "await_generator_exit", max_attempts=1)
    error = (await bench.store.jobs.get(job_id)).job.error
    assert (error["code"], error["message"]) == ("failed", "the processor raised GeneratorExit: out of a task")
