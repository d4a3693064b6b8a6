"""Running on the event loop, and what an attempt comes to."""

import asyncio
import math
import os
from pathlib import Path
from typing import Any

import pytest
import structlog

from service.processors.base import Fail, JobContext, LogNote, Note, ProgressNote, Retry, Snooze, processor
from service.processors.job import MAX_DELAY_S
from service.worker.plain import plain_fields
from service.worker.runner import (
    Assignment,
    Broke,
    LoopRunner,
    Postponed,
    Refused,
    Returned,
    _LoopNotes,
    context_of,
    returned,
    timed_out,
    verdict_of,
)


@pytest.fixture
def assign(tmp_path):
    """Return a function that makes an assignment of an async function."""

    def make(function, *, timeout_s=10.0, **params):
        one = processor("t.one", min_files=0)(function)
        return Assignment("job-1", 2, 3, one, one.check_params(params), {"a": 1}, (), tmp_path, timeout_s)

    return make


def ignore(_note):
    pass


def _nothing(_job):
    pass


# ---- the loop


async def test_the_result_and_the_outputs_are_returned(assign):
    async def function(job: JobContext, text: str) -> dict[str, Any]:
        job.output("a.txt").write_text(text)
        return {"attempt": job.attempt, "of": job.max_attempts, "metadata": job.metadata}

    verdict: Any = await LoopRunner().run(assign(function, text="hello"), ignore)
    assert verdict.result == {"attempt": 2, "of": 3, "metadata": {"a": 1}}
    assert [(output.name, output.path.read_text()) for output in verdict.outputs] == [("a.txt", "hello")]


async def test_notes_are_passed_on_at_once_and_fractions_are_clipped(assign):
    async def function(job: JobContext) -> None:
        job.progress(7)
        job.progress(-1, "words")
        job.log("line", size=3)

    notes: list[Note] = []
    await LoopRunner().run(assign(function), notes.append)
    assert notes == [ProgressNote(1.0, ""), ProgressNote(0.0, "words"), LogNote("line", {"size": 3})]


async def test_an_attempt_that_takes_too_long_is_stopped(assign):
    stopped = asyncio.Event()

    async def function(_job: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    verdict: Any = await LoopRunner().run(assign(function, timeout_s=0.01), ignore)
    assert verdict == timed_out(0.01)
    assert stopped.is_set()


async def test_a_timeout_error_of_the_processor_is_its_own_failure(assign):
    async def function(_job: JobContext) -> None:
        raise TimeoutError("the other side")

    verdict: Any = await LoopRunner().run(assign(function), ignore)
    assert (verdict.code, verdict.message) == ("failed", "TimeoutError: the other side")


async def test_cancellation_passes_through(assign):
    started = asyncio.Event()

    async def function(_job: JobContext) -> None:
        started.set()
        await asyncio.Event().wait()

    runner = LoopRunner()
    run = asyncio.create_task(runner.run(assign(function), ignore))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await runner.aclose()


class _OwnError(BaseException):
    """Is no Exception."""


class _UnspeakableError(BaseException):
    """Raises whatever is done with it."""

    def __str__(self) -> str:
        raise SystemExit(9)

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SystemExit(3), "the processor raised SystemExit: 3"),
        (KeyboardInterrupt(), "the processor raised KeyboardInterrupt"),
        (GeneratorExit(), "the processor raised GeneratorExit"),
        (asyncio.CancelledError(), "the processor raised CancelledError"),
        (_OwnError("why"), "the processor raised _OwnError: why"),
        (_UnspeakableError(), "the processor raised _UnspeakableError: <_UnspeakableError>"),
        (
            BaseExceptionGroup("two", [SystemExit(1), ValueError("b")]),
            "the processor raised BaseExceptionGroup: two (2 sub-exceptions)",
        ),
        (StopIteration(1), "RuntimeError: coroutine raised StopIteration"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_processor_raises_is_its_verdict(assign, error, message):
    async def function(_job: JobContext) -> None:
        await asyncio.sleep(0)
        raise error

    verdict: Any = await LoopRunner().run(assign(function), ignore)
    assert (type(verdict), verdict.code, verdict.message) == (Broke, "failed", message)
    assert "Traceback" in verdict.facts.get("traceback", "Traceback" if "_Unspeakable" in message else "")


async def test_the_end_of_a_task_that_the_processor_has_cancelled_is_its_own_failure(assign):
    async def function(_job: JobContext) -> None:
        task = asyncio.create_task(asyncio.sleep(3600))
        task.cancel()
        await task

    verdict: Any = await LoopRunner().run(assign(function), ignore)
    assert (verdict.code, verdict.message) == ("failed", "the processor raised CancelledError")


async def test_what_the_clean_up_of_a_processor_raises_when_its_time_is_over_changes_nothing(assign):
    async def function(_job: JobContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise SystemExit

    assert await LoopRunner().run(assign(function, timeout_s=0.01), ignore) == timed_out(0.01)


async def test_progress_that_is_no_number_costs_nothing(assign):
    async def function(job: JobContext) -> str:
        job.progress(math.nan, "so far")
        job.progress(math.inf)
        return "done"

    notes: list[Note] = []
    assert await LoopRunner().run(assign(function), notes.append) == Returned("done")
    assert notes == [ProgressNote(0.0, "so far"), ProgressNote(1.0, "")]


# ---- verdicts


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (Fail("no good", code="bad_thing"), Refused("bad_thing", "no good")),
        (Fail("no good"), Refused("failed", "no good")),
        (Snooze(5), Postponed(5)),
        (Retry("later", delay_s=5), Broke("failed", "later", delay_s=5)),
        (Retry(), Broke("failed", "the processor asked for a retry")),
    ],
)
def test_each_instruction_has_its_verdict(error, verdict):
    assert verdict_of(error) == verdict


@pytest.mark.parametrize("delay_s", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [Snooze, Retry])
def test_a_delay_that_is_no_number_is_refused_where_it_is_made(kind, delay_s):
    with pytest.raises(ValueError, match="delay_s is a finite number of seconds, not"):
        kind(delay_s=delay_s)


@pytest.mark.parametrize(("delay_s", "kept_s"), [(-5, 0), (0, 0), (1e13, MAX_DELAY_S)])
def test_a_delay_is_kept_within_bounds(delay_s, kept_s):
    assert Snooze(delay_s).delay_s == Retry(delay_s=delay_s).delay_s == kept_s


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [(Fail, Refused("failed", "")), (Snooze, Postponed(0)), (Retry, Broke("failed", ""))],
)
def test_an_instruction_whose_subclass_forgets_the_rest_has_a_verdict_too(kind, verdict):
    one = type("Own", (kind,), {"__init__": Exception.__init__})
    assert verdict_of(one()) == verdict


def test_any_other_exception_breaks_the_attempt_with_a_traceback():
    with pytest.raises(KeyError) as caught:
        {"": 0}["x" * 5000]
    verdict: Any = verdict_of(caught.value)
    assert verdict.code == "failed"
    assert verdict.message.startswith("KeyError: 'xxx")
    assert len(verdict.message) == 2000
    assert len(verdict.facts["traceback"]) <= 8000


class Nameless(type):
    """Makes classes whose name raises."""

    @property
    def __name__(cls):  # type: ignore[override]
        raise SystemExit


def test_a_class_that_hides_its_name_is_named():
    class HiddenError(Exception, metaclass=Nameless):
        pass

    verdict: Any = verdict_of(HiddenError("boo"))
    assert verdict.message == "HiddenError: boo"


def test_of_thousands_of_exceptions_that_led_to_the_last_only_the_last_are_looked_at():
    looked_at = 0

    class LinkError(Exception):
        def __str__(self):
            nonlocal looked_at
            looked_at += 1
            return "one more try failed"

    error = LinkError()
    for _ in range(1000):
        before, error = error, LinkError()
        error.__context__ = before
    verdict: Any = verdict_of(error)
    assert verdict.facts["traceback"].count("During handling") == 20
    assert looked_at < 100
    assert isinstance(error.__context__, LinkError)
    looked_at, group = 0, ExceptionGroup("a group", [error, ExceptionGroup("and one in it", [error])])
    verdict = verdict_of(group)
    assert "a group" in verdict.facts["traceback"]
    assert looked_at < 100
    looked_at, group = 0, ExceptionGroup("a group", [LinkError() for _ in range(5000)])
    verdict = verdict_of(group)
    assert verdict.message == "ExceptionGroup: a group (5000 sub-exceptions)"
    assert looked_at < 100


@pytest.mark.parametrize("result", [object(), math.nan, {1, 2}, b"bytes", {("a",): 1}])
def test_a_result_that_is_not_json_is_refused(assign, result):
    job = context_of(assign(_nothing), ignore)
    verdict: Any = returned(result, job)
    assert verdict.code == "invalid_result"


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


class _Exits(dict[str, int]):
    """Raises what is no error of JSON."""

    def items(self) -> Any:
        raise KeyError("no")


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (nested(5000), "it is nested deeper than 200 levels"),
        (nested(300), "it is nested deeper than 200 levels"),
        ({1: "a", "1": "b"}, "two keys of a dictionary become the same text, '1'"),
        ([{"x": {None: 1, "null": 2}}], "two keys of a dictionary become the same text, 'null'"),
        ({True: 1, "é": {"true": 1, 1.5: 2, "1.5": 3}}, "two keys of a dictionary become the same text, '1.5'"),
        (_Exits(a=1), "no"),
        (10**5000, "limit"),
    ],
    ids=["deep", "too deep", "keys", "keys within", "keys deep within", "own class", "digits"],
)
def test_a_result_that_would_not_come_back_as_it_was_is_refused_for_good(assign, result, reason):
    verdict: Any = returned(result, context_of(assign(_nothing), ignore))
    assert (type(verdict), verdict.code) == (Refused, "invalid_result")
    assert verdict.message.startswith("the processor returned what is not JSON: ")
    assert reason in verdict.message


def test_a_result_is_kept_as_it_was_when_it_was_returned(assign):
    result = {"a": (1, [2.5, -0.0, 1e300, 2**70]), 3: {"é": "\u2028😀"}}
    verdict: Any = returned(result, context_of(assign(_nothing), ignore))
    result["a"] = "changed by a task that was left running"
    assert verdict.result == {"a": [1, [2.5, -0.0, 1e300, 2**70]], "3": {"é": "\u2028😀"}}


def test_fields_of_a_log_line_lose_nothing_whatever_they_are():
    fields = {"keys": {1: "a", "1": "b"}, "odd": _UnspeakableError(), "deep": 1, "smile": "😀"}
    assert plain_fields({"deep": nested(5000)}, 100) in ({"cut": True}, {"deep": "<list>"})
    kept = {"keys": "{1: 'a', '1': 'b'}", "odd": "<_UnspeakableError>", "deep": "1", "smile": "'\\U0001f600'"}
    assert plain_fields(fields, 1000) == kept
    assert plain_fields({"smile": "😀"}, 1000) == {"smile": "😀"}


@pytest.mark.parametrize("result", [None, 1, 1.5, "é", [1, {"a": None}], {"a": [True]}])
def test_a_result_that_is_json_is_returned(assign, result):
    assert returned(result, context_of(assign(_nothing), ignore)) == Returned(result)


def test_a_result_may_be_nested_as_deep_as_params(assign):
    assert returned(nested(190), context_of(assign(_nothing), ignore)) == Returned(nested(190))


def test_an_output_must_be_a_file_and_no_link(assign):
    for make, words in {
        _nothing: "did not write it",
        Path.mkdir: "made a folder of it",
        os.mkfifo: "made a pipe of it",
        lambda path: path.symlink_to("/etc/passwd"): "made a link of it",
    }.items():
        job = context_of(assign(_nothing), ignore)
        path = job.output("a.txt")
        make(path)
        verdict: Any = returned(None, job)
        assert (verdict.code, words in verdict.message) == ("missing_output", True), verdict
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\0b", "", ".." * 500, "con", "a." + "x" * 300])
def test_no_name_of_an_output_leads_out_of_the_folder(assign, name):
    job = context_of(assign(_nothing), ignore)
    path = job.output(name)
    path.write_text("here")
    assert path.parent == job.folder
    assert job.outputs[0].name == name


async def test_what_a_fork_of_the_server_says_is_lost_and_that_is_said_once(monkeypatch):
    heard: list[Any] = []
    notes = _LoopNotes(heard.append)
    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        for _ in range(3):
            notes.emit(LogNote("from a fork", {}))
    assert (len(logs), heard) == (1, [])
    assert "async def" in logs[0]["event"]
