"""What one attempt must not do to the next in the same process, and what must not hide from the server."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from service.processors.base import LogNote, ProgressNote
from service.processors.registry import load_registry
from service.worker import child_process
from service.worker.children import ChildRunner
from service.worker.output import OutputPipe
from service.worker.runner import Assignment, Broke, Refused, Returned
from tests.integration.isolation_traces_processors import _CHANGES
from tests.integration.test_children import Notes, gone, ignore, is_running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = str(Path(__file__).with_name("isolation_traces_processors.py"))
REGISTRY = load_registry(SPEC)
MIB = 1024**2
FILE_LIMIT_BYTES = 8 * MIB


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner():
    """A runner for all tests here."""
    runner: Any = ChildRunner(1, SPEC, file_limit_bytes=FILE_LIMIT_BYTES)
    yield runner
    await runner.aclose()


@pytest.fixture
def assign(tmp_path):
    """Return a function that makes an assignment of a processor's name, its limits and its params."""
    numbers = iter(range(1000))

    def make(name, *, timeout_s=200.0, memory_limit_bytes=None, cpu_limit_s=None, **params):
        one = REGISTRY[name]
        folder = tmp_path / f"attempt-{next(numbers)}"
        folder.mkdir()
        checked = one.check_params(params)
        limits = memory_limit_bytes, cpu_limit_s
        return Assignment("job-1", 1, 3, one, checked, {}, (), folder, timeout_s, *limits)

    return make


# ---- what stays behind


@pytest.mark.parametrize("what", _CHANGES)
async def test_a_child_that_an_attempt_has_changed_takes_no_other(runner, assign, what):
    before = await runner.run(assign("tr.change", what=what), notes := Notes())
    assert isinstance(before, Returned)
    assert notes.lines == ["the process is replaced, for it is not as it was before"]
    (change,) = notes[0].fields["changed"]
    assert change.startswith(what)
    assert "secret" not in change
    assert not is_running(before.result)
    assert (await runner.run(assign("tr.nothing"), ignore)).result != before.result


async def test_a_child_that_is_as_it_was_goes_on(runner, assign):
    pids = {(await runner.run(assign("tr.nothing"), ignore)).result for _ in range(5)}
    assert len(pids) == 1


# ---- what a child is given


@pytest.mark.parametrize("name", ["FILEMILL_SMTP_PASSWORD", "filemill_smtp_password"])
async def test_no_secret_setting_reaches_a_processor(assign, monkeypatch, name):
    monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("FILEMILL_SMTP_USERNAME", "somebody")
    runner: Any = ChildRunner(1, SPEC)
    values = (await runner.run(assign("tr.environment"), ignore)).result
    await runner.aclose()
    assert "somebody" in values
    assert not any("hunter2" in value for value in values)


# ---- what hides


async def test_an_orphan_whose_end_nobody_hears_of_is_found(runner, assign):
    orphan, _ = (await runner.run(assign("tr.hidden_orphan"), notes := Notes())).result
    assert not is_running(orphan)
    assert notes.lines == ["processes that were left running were ended"]


@pytest.mark.parametrize("forget", [False, True])
async def test_what_a_processor_started_ends_although_it_kills_its_keeper(runner, assign, forget):
    work = assign("tr.kill_keeper", forget=forget, memory_limit_bytes=512 * MIB)
    verdict = await runner.run(work, notes := Notes())
    assert verdict.facts == {"signal": "SIGKILL"}
    await gone((await notes.running())["left"])


async def test_files_in_memory_count_although_they_are_mapped_nowhere(assign):
    own: Any = ChildRunner(1, SPEC)
    verdict = await own.run(assign("tr.hold_in_memory", size=200 * MIB, memory_limit_bytes=160 * MIB), ignore)
    await own.aclose()
    assert verdict.code == "out_of_memory"


@pytest.mark.parametrize("in_memory", [False, True])
async def test_no_file_becomes_larger_than_its_limit(runner, assign, in_memory):
    fits = assign("tr.write_file", size=FILE_LIMIT_BYTES, in_memory=in_memory)
    assert (await runner.run(fits, ignore)).result == "written"
    verdict = await runner.run(assign("tr.write_file", size=FILE_LIMIT_BYTES + MIB, in_memory=in_memory), ignore)
    sentence = "the processor wanted to write a file of more than 8 MiB, its limit (FILEMILL_JOB_FILE_LIMIT_BYTES)"
    assert verdict == Refused("file_too_large", sentence)


async def test_processor_time_counts_for_all_that_an_attempt_starts(runner, assign):
    verdict = await runner.run(assign("tr.burn_in_child", cpu_limit_s=1.0), ignore)
    sentence = "the attempt was stopped after 1 s of processor time, its limit"
    assert verdict == Broke("timed_out", sentence, facts={"cpu_limit_s": 1.0})


# ---- what goes wrong on the way


async def test_what_is_no_number_costs_no_line_and_no_child(runner, assign):
    assert await runner.run(assign("tr.log_nan"), notes := Notes()) == Returned("told")
    assert list(notes) == [ProgressNote(0.0, "so far"), LogNote("loss", {"loss": "nan", "size": "3"})]


async def test_a_child_that_cannot_be_watched_is_ended(runner, assign, monkeypatch):
    async def fail(_guard):
        await asyncio.sleep(0)
        raise RuntimeError("no /proc")

    monkeypatch.setattr("service.worker.guard.Guard.watch", fail)
    verdict = await runner.run(assign("tr.burn_in_child"), ignore)
    assert verdict == Broke("crashed", "the server could not watch the child process, and ended it")


@pytest.mark.parametrize("culprit", ["set_blocking", "open"])
async def test_an_output_pipe_that_cannot_be_made_leaves_nothing_open(monkeypatch, culprit):
    def fail(*_arguments):
        raise OSError(24, "Too many open files")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(f"service.worker.output.os.{culprit}", fail)
    with pytest.raises(OSError, match="Too many"):
        OutputPipe("stdout")
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_a_child_that_cannot_be_started_leaves_nothing_open(monkeypatch):
    async def fail(*_arguments):
        await asyncio.sleep(0)
        raise OSError(11, "no more processes")

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(child_process, "_start_process", fail)
    with pytest.raises(OSError, match="no more processes"):
        await ChildRunner(1, SPEC)._start()
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
