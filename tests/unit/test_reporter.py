"""Notes on their way to rows."""

import asyncio
import json
import math
from datetime import date
from typing import Any

import pytest

from service.processors.base import LogNote, ProgressNote
from service.store.records import ClaimedJob
from service.worker import reporter as module
from service.worker.reporter import LAST_LINES, LINES_BURST, MAX_LINE_CHARS, Reporter
from tests.fakes import FakeClock


class Kept:
    """Stands in for the jobs: keeps what is to be written, and can be held up in the middle of it."""

    def __init__(self):
        self.advances: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()

    async def advance(self, advance):
        self.began.set()
        await self.gate.wait()
        self.advances.append(advance)
        return True

    @property
    def lines(self):
        return [event["data"] for one in self.advances for event in one.events if event["kind"] == "log"]

    @property
    def fractions(self):
        return [one.fraction for one in self.advances if one.fraction is not None]


NOW = FakeClock().now()


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def reporter(kept):
    job = ClaimedJob("job-1", "t.one", {}, {}, 0, 1, 1, 10.0, NOW, NOW)
    return Reporter(job, "worker", kept, FakeClock())


async def test_of_progress_only_the_latest_is_written(reporter, kept):
    for fraction in (0.1, 0.2, 0.3):
        reporter.take(ProgressNote(fraction, "words"))
    await reporter.close()
    assert kept.fractions == [0.3]


async def test_lines_beyond_the_burst_are_counted_and_the_last_ones_kept(reporter, kept):
    total = LINES_BURST + 100
    for number in range(total):
        reporter.take(LogNote(f"line {number}", {}))
    await reporter.close()
    texts = [line["message"] for line in kept.lines]
    assert texts[:LINES_BURST] == [f"line {number}" for number in range(LINES_BURST)]
    assert texts[LINES_BURST] == f"{100 - LAST_LINES} log lines were dropped: there were too many"
    assert texts[LINES_BURST + 1 :] == [f"line {number}" for number in range(total - LAST_LINES, total)]


@pytest.mark.parametrize("fraction", [math.nan, math.inf, -1.0])
async def test_a_fraction_that_is_none_costs_no_line(reporter, kept, fraction):
    reporter.take(ProgressNote(0.5, "half"))
    reporter.take(ProgressNote(fraction, "what"))
    reporter.take(LogNote("line", {}))
    await reporter.close()
    assert [line["message"] for line in kept.lines] == ["line"]


async def test_nothing_is_taken_from_an_attempt_that_was_given_up(reporter, kept):
    reporter.deafen()
    reporter.take(LogNote("line", {}))
    await reporter.close()
    assert kept.lines == []


async def test_few_lines_too_many_are_not_called_dropped(reporter, kept):
    for number in range(LINES_BURST + 3):
        reporter.take(LogNote(f"line {number}", {}))
    await reporter.close()
    assert len(kept.lines) == LINES_BURST + 3
    assert not any("dropped" in line["message"] for line in kept.lines)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"a": [1, None]}, {"a": [1, None]}),
        ({"a": date(2024, 5, 1)}, {"a": "datetime.date(2024, 5, 1)"}),
        ({"a": math.nan}, {"a": "nan"}),
        ({"a": {(1, 2): 3}}, {"a": "{(1, 2): 3}"}),
        ({"a": "\udcff"}, {"cut": True}),
        ({"a": "x" * MAX_LINE_CHARS}, {"cut": True}),
    ],
)
async def test_fields_are_such_as_json_can_hold(reporter, kept, fields, expected):
    reporter.take(LogNote("half a pair: \udcff", fields))
    await reporter.close()
    (line,) = kept.lines
    assert line == {"message": "half a pair: ?", "fields": expected}
    json.dumps(line, ensure_ascii=False, allow_nan=False).encode()


async def test_what_is_being_written_when_the_attempt_ends_is_written_once(reporter, kept, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL_S", 0)
    kept.gate.clear()
    reporter.take(LogNote("first", {}))
    await kept.began.wait()
    reporter.take(LogNote("second", {}))
    closing = asyncio.create_task(reporter.close())
    await asyncio.sleep(0)
    kept.gate.set()
    await closing
    assert [line["message"] for line in kept.lines] == ["first", "second"]


async def test_a_reporter_that_is_never_closed_comes_to_rest(reporter, kept, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL_S", 0)
    before = asyncio.all_tasks()
    reporter.take(LogNote("one", {}))
    (task,) = asyncio.all_tasks() - before
    await asyncio.wait_for(task, 60)
    assert len(kept.lines) == 1
    reporter.take(LogNote("two", {}))
    await reporter.close()
    assert len(kept.lines) == 2
