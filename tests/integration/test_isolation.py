"""What a processor can do to the machine and to its neighbours: with real children, and no more than a few seconds."""

import asyncio
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from service.boot_folder import BootFolder
from service.processors.base import LogNote
from service.store.ids import new_id
from service.worker import child_process
from service.worker.children import ChildRunner
from service.worker.runner import Assignment, Broke, Returned
from tests.integration.test_children import (
    SPEC,
    Notes,
    assign,
    gone,
    ignore,
    is_running,
    own_runner,
    runner,
)

__all__ = ["assign", "own_runner", "runner"]  # fixtures
pytestmark = pytest.mark.asyncio(loop_scope="module")

PRINT_GIGABYTE = r"import os; [os.write(1, b'all work and no play\n' * 4000) for _ in range(0, 1 << 30, 84_000)]"
MIB = 1024**2
LIMIT_BYTES = 160 * MIB


def limited(assignment, **changes):
    """Return the assignment with other limits."""
    return Assignment(**{name: getattr(assignment, name) for name in Assignment.__slots__} | changes)


@pytest.fixture
def data_dir():
    """A folder with as long a path as many have: what processors make below it must still be a path of a socket."""
    with TemporaryDirectory() as short:
        folder = Path(short) / ("x" * (50 - len(short)))
        folder.mkdir()
        yield folder


# ---- memory


@pytest.mark.parametrize("pause_s", [0, 0.02])
async def test_an_attempt_that_allocates_without_end_is_stopped_at_its_limit(runner, assign, pause_s):
    work = limited(assign("t.allocate", pause_s=pause_s), memory_limit_bytes=LIMIT_BYTES)
    verdict = await runner.run(work, ignore)
    assert verdict == Broke(
        "out_of_memory",
        "the attempt was stopped at its memory limit of 160 MiB",
        facts={"memory_limit_bytes": LIMIT_BYTES},
    ) or verdict == Broke("out_of_memory", "the processor ran out of memory")
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_one_absurd_allocation_fails_before_it_takes_anything(runner, assign):
    work = limited(assign("t.allocate", step=1 << 40), memory_limit_bytes=LIMIT_BYTES)
    assert await runner.run(work, ignore) == Broke("out_of_memory", "the processor ran out of memory")


async def test_memory_that_is_only_reserved_does_not_count(runner, assign):
    work = limited(assign("t.reserve", size=64 << 30), memory_limit_bytes=LIMIT_BYTES)
    assert await runner.run(work, ignore) == Returned("reserved")


async def test_memory_of_descendants_counts_wherever_they_went(runner, assign):
    work = limited(assign("t.allocate_in_forks", count=4, size=64 * MIB), memory_limit_bytes=LIMIT_BYTES)
    verdict = await runner.run(work, ignore)
    assert (verdict.code, verdict.facts) == ("out_of_memory", {"memory_limit_bytes": LIMIT_BYTES})


async def test_memory_that_forks_share_counts_once(runner, assign):
    work = limited(assign("t.share_with_forks", count=6, size=64 * MIB), memory_limit_bytes=LIMIT_BYTES)
    assert await runner.run(work, ignore) == Returned(f"{64 * MIB} shared")


async def test_the_limits_of_one_attempt_do_not_hold_for_the_next(runner, assign):
    first = limited(assign("t.limits"), memory_limit_bytes=LIMIT_BYTES)
    one = (await runner.run(first, ignore)).result
    two = (await runner.run(assign("t.limits"), ignore)).result
    assert one["data"] == 2 * LIMIT_BYTES + 1024 * MIB
    assert (two["data"], two["core"]) == (-1, 0)
    assert two["group"] != os.getpgid(0)


async def test_a_child_that_has_grown_is_replaced(assign, monkeypatch):
    monkeypatch.setattr(child_process, "GROWTH_BYTES", 32 * MIB)
    runner: Any = ChildRunner(1, SPEC)
    small = [(await runner.run(assign("t.hoard", size=MIB), ignore)).result for _ in range(2)]
    large = [(await runner.run(assign("t.hoard", size=64 * MIB), ignore)).result for _ in range(2)]
    await runner.aclose()
    assert small[0] == small[1] == large[0] != large[1]


# ---- time


async def test_processor_time_is_limited_too(runner, assign):
    verdict = await runner.run(limited(assign("t.loop"), cpu_limit_s=1.0), ignore)
    sentence = "the attempt was stopped after 1 s of processor time, its limit"
    assert verdict == Broke("timed_out", sentence, facts={"cpu_limit_s": 1.0})


# ---- descendants


async def test_a_daemon_that_left_session_and_environment_ends_with_the_attempt(runner, assign):
    result = (await runner.run(assign("t.daemon"), notes := Notes())).result
    await gone(result)
    assert (await runner.run(assign("t.pid"), ignore)).result["pid"] == (await notes.running())["pid"]


async def test_a_daemon_ends_with_an_attempt_that_is_stopped(runner, assign):
    run = asyncio.create_task(runner.run(assign("t.daemon", stay=True), notes := Notes()))
    daemon = (await notes.running())["daemon"]
    assert is_running(daemon)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not is_running(daemon)


async def test_a_processor_that_kills_its_keeper_kills_itself(runner, assign):
    verdict = await runner.run(assign("t.kill_keeper"), ignore)
    assert verdict == Broke("crashed", "the child process was ended by SIGKILL", facts={"signal": "SIGKILL"})
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_temporary_folders_of_one_attempt_are_not_expected_by_the_next(runner, assign, data_dir):
    for number in range(2):
        work = limited(assign("t.manager"), folder=BootFolder(data_dir / "work", new_id()).path / str(number))
        work.folder.mkdir()
        assert await runner.run(work, ignore) == Returned([1, 2])
        for path in work.folder.rglob("*"):
            assert not path.is_file()
        _remove(work.folder)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


# ---- children that are not what they were


@pytest.mark.parametrize("keeper", [False, True])
async def test_a_child_that_is_stopped_in_an_attempt_is_found_and_replaced(runner, assign, monkeypatch, keeper):
    monkeypatch.setattr("service.worker.guard.STOPPED_LIMIT", 3)
    await runner.warm()
    (child,) = runner._idle
    verdict = await runner.run(assign("t.stop", keeper=keeper), ignore)
    assert (verdict.code, verdict.facts) == ("crashed", {"signal": "SIGSTOP"})
    assert not is_running(child.pid)
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_child_that_is_stopped_or_killed_while_idle_costs_no_attempt(runner, assign, number):
    await runner.warm()
    (child,) = runner._idle
    os.kill(child.pid, number)
    assert (await runner.run(assign("t.pid"), ignore)).result["pid"] != child.pid
    await gone(child.pid)


async def test_a_child_that_does_not_take_its_work_is_replaced_and_the_job_runs_elsewhere(runner, assign, monkeypatch):
    monkeypatch.setattr(child_process.ChildProcess, "is_ready", True)
    await runner.warm()
    (child,) = runner._idle
    os.kill(child.pid, signal.SIGSTOP)
    monkeypatch.setattr(child_process, "BEGIN_LIMIT_S", 0.3)
    assert (await runner.run(assign("t.pid"), ignore)).result["pid"] != child.pid


async def test_noise_that_an_idle_child_makes_costs_the_next_job_nothing(own_runner, assign):
    # a child of its own: one that has grown in other tests is replaced after its job, and never heard again
    pid = (await own_runner.run(assign("t.turn"), ignore)).result
    (child,) = own_runner._idle
    assert child.pid == pid
    while not child._reader._buffer:
        await asyncio.sleep(0.01)
    assert (await own_runner.run(assign("t.pid"), ignore)).result["pid"] != pid


@pytest.mark.parametrize("hold_socket", [False, True])
async def test_a_child_that_becomes_another_program_is_a_crash(runner, assign, hold_socket):
    verdict = await runner.run(assign("t.become", hold_socket=hold_socket), ignore)
    assert (type(verdict), verdict.code) == (Broke, "crashed")
    assert isinstance(await runner.run(assign("t.pid"), ignore), Returned)


async def test_a_crash_is_followed_by_a_new_child_before_the_next_job(assign):
    runner: Any = ChildRunner(2, SPEC)
    await runner.warm(2)
    await runner.run(assign("t.exit", code=3), ignore)
    while len(runner._idle) < 2:
        await asyncio.sleep(0.01)
    warm = {child.pid for child in runner._idle}
    assert (await runner.run(assign("t.pid"), ignore)).result["pid"] in warm
    await runner.aclose()
    assert not any(map(is_running, warm))


# ---- floods


async def test_a_gigabyte_of_output_neither_blocks_nor_floods(runner, assign):
    await runner.warm()
    assert await runner.run(assign("t.print_gigabyte"), notes := Notes()) == Returned("printed")
    assert sum(map(len, notes.lines)) < 256 * 1024
    assert any(line.endswith("bytes were dropped here: too much was printed") for line in notes.lines)
    assert notes.lines[-1] == "the last line"


async def test_a_flood_of_log_lines_is_thinned_and_counted(runner, assign):
    notes = Notes()
    assert await runner.run(assign("t.log_flood"), notes) == Returned("logged")
    assert notes.lines[0] == "line 0"
    assert len(notes) < 2000
    counts = [int(line.split()[0]) for line in notes.lines if "were dropped" in line]
    assert sum(counts) + len(notes) - len(counts) == 100_000


async def test_the_streams_are_told_apart(runner, assign):
    await runner.run(assign("t.print", raw=True), notes := Notes())
    streams = {note.fields["stream"]: note.message for note in notes if isinstance(note, LogNote)}
    assert streams["stderr"] == "\ufffd\ufffd half a line"
    assert set(streams) == {"stdout", "stderr"}
