"""Child processes, with real ones."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.errors import ProcessorLoadError
from service.processors.base import InputFile, LogNote, ProgressNote
from service.processors.registry import load_registry
from service.worker.children import ChildRunner
from service.worker.output import BURST_BYTES, BYTES_PER_S, TAIL_BYTES
from service.worker.runner import Assignment, Broke, Postponed, Refused, Returned

SPEC = str(Path(__file__).parents[1] / "processors_for_tests.py")
REGISTRY = load_registry(SPEC)
ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner():
    """A runner for all tests here: a child costs a third of a second, and one that was harmed is replaced."""
    runner: Any = ChildRunner(1, SPEC)
    yield runner
    await runner.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def own_runner():
    """A runner for one test."""
    runner: Any = ChildRunner(1, SPEC)
    yield runner
    await runner.aclose()


@pytest.fixture
def assign(tmp_path):
    """Return a function that makes an assignment of a processor's name and its params."""
    numbers = iter(range(1000))

    def make(name, *, timeout_s=200.0, files=(), metadata=None, **params):
        processor = REGISTRY[name]
        folder = tmp_path / f"attempt-{next(numbers)}"
        folder.mkdir()
        return Assignment(
            job_id="job-1",
            attempt=2,
            max_attempts=3,
            processor=processor,
            params=processor.check_params(params),
            metadata=metadata or {},
            files=tuple(files),
            folder=folder,
            timeout_s=timeout_s,
        )

    return make


class Notes(list[Any]):
    """Keeps notes, and lets a test wait for the first log line."""

    def __init__(self):
        super().__init__()
        self._logged = asyncio.Event()

    def __call__(self, note):
        self.append(note)
        if isinstance(note, LogNote) and note.message == "running":
            self._logged.set()

    async def running(self):
        await asyncio.wait_for(self._logged.wait(), 60)
        return next(note.fields for note in self if getattr(note, "message", "") == "running")

    @property
    def lines(self):
        return [note.message for note in self if isinstance(note, LogNote)]


def ignore(_note):
    pass


def is_running(pid):
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid):
    """Wait for the end of a process that is nobody's child here."""
    async with asyncio.timeout(60):
        while is_running(pid):
            await asyncio.sleep(0.01)


# ---- what goes in and comes out


async def test_a_processor_gets_its_params_files_and_metadata(runner, assign, tmp_path):
    path = tmp_path / "bytes"
    path.write_text("content")
    file = InputFile("id", "naïve 名.txt", "text/plain", 7, "00", path)
    work = assign("t.echo", files=[file], metadata={"a": [1]}, value={"x": [1.5, None, "é"]}, day="2024-02-29")
    assert await runner.run(work, ignore) == Returned(
        {
            "value": {"x": [1.5, None, "é"]},
            "day": "date",
            "files": [{"name": "naïve 名.txt", "text": "content"}],
            "metadata": {"a": [1]},
            "attempt": 2,
        }
    )


async def test_relative_paths_hold_in_the_child(runner, assign, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work = assign("t.write", text="hello")
    relative = Assignment(**{**_fields(work), "folder": work.folder.relative_to(tmp_path)})
    verdict = await runner.run(relative, ignore)
    assert verdict.outputs[0].path.read_text() == "hello"
    assert verdict.outputs[0].path.parent == work.folder


async def test_an_output_outside_of_the_folder_is_no_verdict(runner, assign):
    assert await runner.run(assign("t.stray"), ignore) == Broke(
        "crashed", "the child process answered what is not a verdict"
    )


async def test_an_output_that_was_not_written_is_refused(runner, assign):
    verdict = await runner.run(assign("t.missing"), ignore)
    assert isinstance(verdict, Refused)
    assert verdict.code == "missing_output"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("fail", Refused("bad_thing", "no good")),
        ("retry", Broke("failed", "later", delay_s=3)),
        ("snooze", Postponed(4)),
        ("memory", Broke("out_of_memory", "the processor ran out of memory")),
        ("large", Refused("failed", "x" * 2000)),
    ],
)
async def test_what_a_processor_raises_is_its_verdict(runner, assign, kind, expected):
    assert await runner.run(assign("t.raise", kind=kind), ignore) == expected


@pytest.mark.parametrize(
    ("kind", "message"),
    [("value", "ValueError: wrong value"), ("keyboard", "the processor raised KeyboardInterrupt")],
)
async def test_an_exception_comes_with_its_traceback(runner, assign, kind, message):
    verdict = await runner.run(assign("t.raise", kind=kind), ignore)
    assert (verdict.code, verdict.message) == ("failed", message)
    assert "processors_for_tests.py" in verdict.facts["traceback"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("object", "invalid_result"),
        ("nan", "invalid_result"),
        ("surrogate", "invalid_result"),
        ("deep", "invalid_result"),
        ("large", "result_too_large"),
    ],
)
async def test_a_result_that_cannot_be_sent_is_a_clear_verdict_and_the_child_lives(runner, assign, kind, code):
    before = await runner.run(assign("t.pid"), ignore)
    assert (await runner.run(assign("t.not_json", kind=kind), ignore)).code == code
    after = await runner.run(assign("t.pid"), ignore)
    assert after.result["pid"] == before.result["pid"]


# ---- the process


async def test_a_child_is_reused_and_works_in_the_folder_of_each_attempt(runner, assign):
    first, second = assign("t.pid"), assign("t.pid")
    one = (await runner.run(first, ignore)).result
    two = (await runner.run(second, ignore)).result
    assert one["pid"] == two["pid"] != os.getpid()
    assert (one["cwd"], one["temp"]) == (str(first.folder), str(first.folder))
    assert two["cwd"] == str(second.folder)
    assert one["nice"] == min(os.nice(0) + 10, 19)
    assert one["group"] == "10"  # of the session, without which the other means nothing


@pytest.mark.skipif(sys.platform != "linux", reason="the rights of Linux")
async def test_nothing_in_a_child_gets_real_time_priority_not_even_as_root(own_runner, assign):
    result = (await own_runner.run(assign("t.real_time"), ignore)).result
    assert result == ["refused here", "refused there", str({os.SCHED_OTHER})]


async def test_a_child_has_a_clean_environment_and_no_heavy_modules(own_runner, assign, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    result = (await own_runner.run(assign("t.environment"), ignore)).result
    assert result == {"vips": "1", "threads": "1", "python_path": "/somewhere", "stdin": "", "web": []}


async def test_a_child_is_replaced_after_its_share_of_jobs(assign):
    runner: Any = ChildRunner(1, SPEC, jobs_per_child=2)
    pids = [(await runner.run(assign("t.pid"), ignore)).result["pid"] for _ in range(4)]
    await runner.aclose()
    assert pids[0] == pids[1] != pids[2] == pids[3]
    assert not any(map(is_running, pids))


async def test_as_many_children_run_as_the_limit_allows(assign):
    runner: Any = ChildRunner(2, SPEC)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(runner.run(assign("t.pid"), ignore)) for _ in range(6)]
    await runner.aclose()
    assert 1 <= len({task.result().result["pid"] for task in tasks}) <= 2


async def test_a_warm_runner_has_its_child_before_the_first_job(runner, assign):
    await runner.warm(5)
    (child,) = runner._idle
    assert (await runner.run(assign("t.pid"), ignore)).result["pid"] == child.pid


async def test_a_child_that_died_while_idle_is_replaced_unseen(runner, assign):
    await runner.warm()
    (child,) = runner._idle
    os.kill(child.pid, signal.SIGKILL)
    await child._end
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_processors_that_cannot_be_loaded_are_named_at_the_start(tmp_path, assign):
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_that_name")
    runner: Any = ChildRunner(1, str(path))
    with pytest.raises(ProcessorLoadError, match=r"cannot load .*broken\.py.*nothing_of_that_name"):
        await runner.warm()
    verdict = await runner.run(assign("t.pid"), ignore)
    assert verdict.code == "crashed"
    await runner.aclose()


async def test_a_module_that_kills_the_child_at_import_is_a_crash(tmp_path, assign):
    path = tmp_path / "deadly.py"
    path.write_text("import os; os._exit(7)")
    runner: Any = ChildRunner(1, str(path))
    assert (await runner.run(assign("t.pid"), ignore)).facts == {"exit_code": 7}
    await runner.aclose()


async def test_a_closed_runner_takes_no_job(own_runner, assign):
    await own_runner.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await own_runner.run(assign("t.pid"), ignore)


async def test_closing_ends_children_busy_and_idle(assign):
    runner: Any = ChildRunner(2, SPEC)
    await runner.warm(2)
    notes = Notes()
    run = asyncio.create_task(runner.run(assign("t.loop"), notes))
    pid = (await notes.running())["pid"]
    await runner.aclose()
    assert not is_running(pid)
    assert await run == Broke("crashed", "the child process was ended by SIGTERM", facts={"signal": "SIGTERM"})


# ---- crashes


async def test_a_killed_child_is_a_crash_with_the_signal_named(runner, assign):
    verdict = await runner.run(assign("t.signal", number=signal.SIGKILL), notes := Notes())
    assert verdict == Broke("crashed", "the child process was ended by SIGKILL", facts={"signal": "SIGKILL"})
    assert notes.lines == ["about to die"]
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_a_segmentation_fault_leaves_the_line_that_did_it_in_the_log(runner, assign):
    verdict = await runner.run(assign("t.segfault"), notes := Notes())
    assert verdict.facts == {"signal": "SIGSEGV"}
    assert any("in segfault" in line for line in notes.lines)


async def test_a_hard_exit_is_a_crash_with_the_exit_code(runner, assign):
    verdict = await runner.run(assign("t.exit", code=3), ignore)
    assert verdict.facts == {"exit_code": 3}
    assert "exited with code 3" in verdict.message


async def test_sys_exit_ends_the_attempt_and_not_the_child(runner, assign):
    before = await runner.run(assign("t.pid"), ignore)
    verdict = await runner.run(assign("t.exit", code=3, politely=True), ignore)
    assert (verdict.code, verdict.message) == ("failed", "the processor raised SystemExit: 3")
    after = await runner.run(assign("t.pid"), ignore)
    assert after.result["pid"] == before.result["pid"]


@pytest.mark.parametrize("kind", ["noise", "huge", "kind", "fields", "nan", "hello"])
async def test_garbage_on_the_private_socket_is_a_crash(runner, assign, kind):
    verdict = await runner.run(assign("t.garbage", kind=kind), ignore)
    assert (type(verdict), verdict.code) == (Broke, "crashed")
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_a_child_that_hangs_up_is_a_crash(runner, assign):
    verdict = await runner.run(assign("t.close_socket"), ignore)
    assert verdict == Broke("crashed", "the child process closed its connection")


async def test_a_descendant_in_a_session_of_its_own_does_not_hide_the_crash_and_ends_with_it(runner, assign):
    verdict = await runner.run(assign("t.orphan_holding_socket"), notes := Notes())
    assert verdict.facts == {"exit_code": 4}
    assert not is_running((await notes.running())["orphan"])


# ---- being stopped


@pytest.mark.parametrize("stubborn", [False, True])
async def test_an_endless_loop_is_stopped_at_its_limit(runner, assign, stubborn):
    await runner.warm()
    verdict = await runner.run(assign("t.loop", timeout_s=0.3, stubborn=stubborn), notes := Notes())
    assert verdict == Broke("timed_out", "the attempt was stopped after its limit of 0.3 s")
    assert not is_running((await notes.running())["pid"])


@pytest.mark.parametrize("stubborn", [False, True])
async def test_what_the_processor_started_is_killed_with_it(runner, assign, stubborn):
    await runner.warm()
    verdict = await runner.run(assign("t.grandchild", timeout_s=0.5, stubborn=stubborn), notes := Notes())
    assert verdict.code == "timed_out"
    await gone((await notes.running())["grandchild"])


async def test_what_a_processor_left_running_ends_with_the_attempt_and_the_child_goes_on(runner, assign):
    result = (await runner.run(assign("t.grandchild", wait=False), notes := Notes())).result
    assert not is_running(result["grandchild"])
    assert "processes that were left running were ended" in notes.lines
    assert (await runner.run(assign("t.pid"), ignore)).result["pid"] == result["pid"]


async def test_cancelling_a_run_kills_its_processor_and_frees_its_place(runner, assign):
    run = asyncio.create_task(runner.run(assign("t.loop", stubborn=True), notes := Notes()))
    pid = (await notes.running())["pid"]
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not is_running(pid)
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_cancelling_twice_leaves_nothing_running(assign):
    runner: Any = ChildRunner(1, SPEC)
    run = asyncio.create_task(runner.run(assign("t.loop", stubborn=True), notes := Notes()))
    pid = (await notes.running())["pid"]
    run.cancel()
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await runner.aclose()
    assert not is_running(pid)


async def test_cancelling_while_the_child_starts_leaves_nothing_running(assign):
    runner: Any = ChildRunner(1, SPEC)
    for turns in range(12):
        run = asyncio.create_task(runner.run(assign("t.pid"), ignore))
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)
    await runner.aclose()


async def test_an_emit_that_raises_costs_the_child_and_reaches_the_caller(runner, assign):
    def emit(_note):
        raise TimeoutError("not the child's")

    with pytest.raises(TimeoutError, match="not the child's"):
        await runner.run(assign("t.notes"), emit)
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


@pytest.mark.parametrize(("name", "params"), [("t.loop", {"stubborn": True}), ("t.daemon", {"stay": True})])
async def test_children_and_what_they_started_die_with_a_server_that_was_killed(tmp_path, name, params):
    command = (sys.executable, "-c", _SERVER, SPEC, str(tmp_path), name, json.dumps(params))
    server: Any = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    running = json.loads(await asyncio.wait_for(server.stdout.readline(), 60))
    assert all(map(is_running, running.values()))
    server.kill()
    await server.communicate()
    for pid in running.values():
        await gone(pid)


_SERVER = """
import asyncio, json, sys
from pathlib import Path
from typing import Any
from service.processors.registry import load_registry
from service.worker.children import ChildRunner
from service.worker.runner import Assignment

async def main():
    processor = load_registry(sys.argv[1])[sys.argv[3]]
    work = Assignment("j", 1, 1, processor, json.loads(sys.argv[4]), {}, (), Path(sys.argv[2]), 60)
    await ChildRunner(1, sys.argv[1]).run(work, lambda note: print(json.dumps(note.fields), flush=True))

asyncio.run(main())
"""


# ---- notes and output


async def test_progress_and_log_arrive_before_the_verdict(runner, assign):
    verdict = await runner.run(assign("t.notes", count=2), notes := Notes())
    assert verdict == Returned("done")
    assert notes[:2] == [ProgressNote(0.5, "step 1"), ProgressNote(1.0, "step 2")]
    assert notes[2].message == "a line"
    assert notes[2].fields["when"] == "datetime.date(2024, 5, 1)"
    assert notes[3] == LogNote("x" * 2000, {"cut": True})


async def test_a_flood_of_progress_is_thinned_and_the_last_word_arrives(runner, assign):
    await runner.run(assign("t.notes", count=50_000), notes := Notes())
    progress = [note for note in notes if isinstance(note, ProgressNote)]
    assert len(progress) < 2000
    assert progress[-1] == ProgressNote(1.0, "step 50000")


async def test_notes_of_a_thread_left_behind_do_not_reach_another_job(runner, assign):
    assert await runner.run(assign("t.late_notes"), ignore) == Returned("left")
    for _ in range(20):
        assert isinstance(await runner.run(assign("t.pid"), notes := Notes()), Returned)
        assert notes == []


@pytest.mark.parametrize(
    ("name", "result"), [("t.fork", "parent"), ("t.pool", [1, 2, 3]), ("t.close_stdout", "closed")]
)
async def test_forks_and_closed_descriptors_do_not_break_the_protocol(runner, assign, name, result):
    assert await runner.run(assign(name), ignore) == Returned(result)
    assert "pid" in (await runner.run(assign("t.pid"), ignore)).result


async def test_what_is_printed_becomes_log_lines(runner, assign):
    assert await runner.run(assign("t.print", lines=2), notes := Notes()) == Returned("printed")
    assert list(notes) == [
        LogNote("line 0 of what is printed", {"stream": "stdout"}),
        LogNote("line 1 of what is printed", {"stream": "stdout"}),
    ]


@pytest.mark.parametrize("replace", [False, True])
async def test_what_one_attempt_closes_is_open_for_the_next(runner, assign, replace):
    before = await runner.run(assign("t.close_stdout", replace=replace), ignore)
    assert before == Returned("closed")
    assert await runner.run(assign("t.print", lines=1), notes := Notes()) == Returned("printed")
    assert notes.lines == ["line 0 of what is printed"]


async def test_printing_a_lot_leaves_the_protocol_intact_and_the_log_bounded(runner, assign):
    verdict = await runner.run(assign("t.print", lines=50_000, raw=True), notes := Notes())
    assert verdict == Returned("printed")
    assert sum(map(len, notes.lines)) <= BURST_BYTES + 20 * BYTES_PER_S + 2 * TAIL_BYTES
    assert any(line.endswith("bytes were dropped here: too much was printed") for line in notes.lines)
    assert "line 0 of what is printed" in notes.lines
    assert "line 49999 of what is printed" in notes.lines
    assert await runner.run(assign("t.print"), notes := Notes()) == Returned("printed")
    assert notes.lines == ["line 0 of what is printed"]


async def test_frames_on_standard_output_are_only_text(runner, assign):
    assert await runner.run(assign("t.print", lines=0, raw=True), notes := Notes()) == Returned("printed")
    assert "\ufffd\ufffd half a line" in notes.lines
    assert [note.fields["stream"] for note in notes if "half a line" in note.message] == ["stderr"]


async def test_printing_without_end_leaves_the_loop_free(runner, assign):
    await runner.warm()
    run = asyncio.create_task(runner.run(assign("t.print_forever", timeout_s=1), ignore))
    turns = 0
    while not run.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await run).code == "timed_out"
    assert turns > 20  # a loop that only reads has one or two


def _fields(assignment):
    return {name: getattr(assignment, name) for name in Assignment.__slots__}
