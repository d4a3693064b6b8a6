"""What processes say that a processor forks: with real children."""

import os

import pytest

from service.processors.base import LogNote, ProgressNote
from service.worker import forked
from service.worker.notes import LINES_BURST
from service.worker.runner import Returned
from tests.integration.test_children import Notes, assign, ignore, own_runner, runner

__all__ = ["assign", "own_runner", "runner"]  # fixtures
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("how", ["fork", "process", "pool", "executor"])
async def test_what_a_fork_says_reaches_the_job(runner, assign, how):
    verdict = await runner.run(assign("t.forked_notes", how=how), notes := Notes())
    assert verdict == Returned("spoken")
    spoken = [note for note in notes if isinstance(note, LogNote) and "of fork" in note.message]
    assert sorted(note.message for note in spoken) == [f"line 0 of fork {number}" for number in range(3)]
    assert [note.fields["size"] for note in sorted(spoken, key=lambda note: note.message)] == [0, 1, 2]
    assert {ProgressNote(0.5, f"fork {number}") for number in range(3)} <= {
        note for note in notes if isinstance(note, ProgressNote)
    }
    assert notes.lines.count("the parent goes on") == 1


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("return", 0, []), ("exit", 4, []), ("say", 1, ["bye"]), ("raise", 1, ["ValueError: of the fork"])],
)
async def test_a_fork_ends_as_a_program_does(runner, assign, how, code, said):
    verdict = await runner.run(assign("t.forked_end", how=how), notes := Notes())
    assert verdict == Returned(code)
    assert [line for line in notes.lines if line and not line.startswith((" ", "Traceback"))] == said


async def test_many_forks_at_once_lose_no_line_within_their_allowance(runner, assign):
    await runner.run(assign("t.forked_notes", how="process", count=300), notes := Notes())
    said = sorted(line for line in notes.lines if "of fork" in line)
    assert said == sorted(f"line {line} of fork {number}" for line in range(300) for number in range(3))


async def test_a_flood_of_lines_from_forks_is_thinned_and_said(runner, assign, monkeypatch):
    monkeypatch.setattr(forked, "NOTES_BURST", 100)
    verdict = await runner.run(assign("t.forked_notes", count=20_000), notes := Notes())
    assert verdict == Returned("spoken")
    said = [line for line in notes.lines if "of fork" in line]
    assert 100 <= len(said) < 3 * LINES_BURST + 1000
    assert any("forked processes were dropped" in line for line in notes.lines)
    assert len(notes) < 10_000


async def test_a_fork_that_drops_lines_says_so_itself(runner, assign):
    await runner.run(assign("t.forked_notes", count=LINES_BURST + 500), notes := Notes())
    assert sum("of this forked process are dropped from here" in line for line in notes.lines) >= 1


async def test_notes_of_a_fork_left_behind_do_not_reach_another_job(runner, assign):
    for _ in range(5):
        assert await runner.run(assign("t.forked_late"), ignore) == Returned("left")
        assert isinstance(await runner.run(assign("t.pid"), notes := Notes()), Returned)
        assert notes == []


async def test_a_fork_that_has_closed_its_way_to_the_server_says_so_once_and_writes_nowhere_else(runner, assign):
    assert await runner.run(assign("t.forked_closed"), notes := Notes()) == Returned(7)
    assert [line.split(":")[0] for line in notes.lines] == ["progress and log lines of this forked process are lost"]


async def test_a_fork_that_has_closed_all_gets_nothing_into_its_own_files(runner, assign):
    assert await runner.run(assign("t.forked_closed_all"), notes := Notes()) == Returned(0)
    assert notes.lines == []


async def test_a_fork_cannot_speak_for_the_child(runner, assign):
    assert await runner.run(assign("t.forked_noise"), notes := Notes()) == Returned("1 sockets")
    assert list(notes) == [LogNote("after the noise", {})]


async def test_notes_of_forks_are_no_change_of_the_process(own_runner, assign):
    before = (await own_runner.run(assign("t.pid"), ignore)).result["pid"]
    for how in ("fork", "process", "pool"):
        await own_runner.run(assign("t.forked_notes", how=how), ignore)
    assert (await own_runner.run(assign("t.pid"), ignore)).result["pid"] == before != os.getpid()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
async def test_a_job_that_is_sent_to_a_process_started_anew_is_refused_in_a_sentence(runner, assign, method):
    verdict = await runner.run(assign("t.sent_job", method=method), ignore)
    assert verdict.message.startswith("TypeError: a job cannot be sent to another process (spawn, forkserver")


async def test_an_output_that_a_fork_names_is_said_to_be_none_and_spoils_no_other(runner, assign):
    verdict = await runner.run(assign("t.forked_output"), notes := Notes())
    ((output,), count) = verdict.outputs, verdict.result
    assert (output.name, output.path.read_text(), count) == ("parent.txt", "parent", "3")
    lines = [note for note in notes if isinstance(note, LogNote)]
    assert [(one.message.partition(":")[0], one.fields) for one in lines] == [
        ("an output that a forked process names is none of the job's", {"name": "fork.txt"})
    ] * 2
