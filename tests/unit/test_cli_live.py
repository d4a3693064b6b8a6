"""What the live views draw, from events that are as hostile as they come."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from service.cli import render
from service.cli.board import Standing, bar, event_json, event_line
from service.cli.top_view import KEPT, Picture, spark
from service.cli.watching import Board, Listing
from service.client.answers import Percentiles, Stats, parse_job
from service.client.events import Block, parse_event
from service.states import State

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "019ab3f2-8c61-7d52-9f0e-3a5d1c7b2e44"
HOSTILE = "\x1b[2J[red]\u202e\x07\r\n写真" * 50_000
URL = "http://127.0.0.1:8000"


def event(kind="state", *, number=1, job=ID, at=NOW, attempt=1, **data):
    body = {"job_id": job, "processor": "image.thumbnail", "at": at.isoformat(), "attempt": attempt, **data}
    made = parse_event(Block(kind, number, None, json.dumps(body)))
    assert made is not None
    return made


def moved(state, *, error=None, **options):
    return event(state=state, reason="move", **({"error": error} if error else {}), **options)


def progress(fraction, message="", **options):
    return event("progress", fraction=fraction, message=message, **options)


def stats(**changes):
    known: dict[str, Any] = {
        "jobs": {"queued": 12345, "running": 4, "succeeded": 1_000_000, "failed": 7, "cancelled": 0},
        "processors": {name: dict.fromkeys(State, 3) for name in ("a" * 60, "b", "c", "d", "e", "f", "g")},
        "oldest_queued_age_s": 75.0,
        "window_s": 300.0,
        "throughput": tuple(float(one) for one in range(30)),
        "wait_s": Percentiles(0.0123, 1.5),
        "run_s": Percentiles(None, None),
        "occupancy": {"loop": (1, 100), "child": (2, 2)},
        "raw": {},
    }
    return Stats(**(known | changes))


def drawn(renderable, width=80):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(renderable)
    return file.getvalue()


def fits(text, width=80):
    return max(cell_len(line) for line in text.splitlines()) <= width


# ---- one job


def test_a_line_says_what_it_is_how_it_stands_since_when_how_far_and_what_it_says():
    one = Standing(ID, "photo.jpg")
    one.take(moved("queued", attempt=0))
    assert one.line(NOW, 80).plain.split() == ["photo.jpg", "queued"]
    one.take(moved("running"))
    one.take(progress(0.5, "page 6 of 12"))
    later = NOW + timedelta(seconds=12)
    assert one.line(later, 80).plain.split() == [
        "photo.jpg", "running", "12", "s", "━" * 10, "50%", "page", "6", "of", "12",
    ]  # fmt: skip
    one.take(moved("failed", at=later, error={"code": "boom", "message": "it broke"}))
    assert one.line(later, 80).plain.split() == ["photo.jpg", "failed", "12", "s", "boom:", "it", "broke"]
    assert one.is_finished


def test_a_second_attempt_begins_at_nothing():
    one = Standing(ID, "photo.jpg")
    for each in (moved("running"), progress(0.9), moved("queued"), moved("running", attempt=2)):
        one.take(each)
    assert (one.fraction, one.attempt, one.state) == (0.0, 2, State.RUNNING)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("last", ["progress", "failed"])
def test_a_line_is_one_line_and_harmless_whatever_the_job_says(width, last):
    one = Standing(ID, HOSTILE)
    one.take(moved("running"))
    one.take(
        progress(0.5, HOSTILE) if last == "progress" else moved("failed", error={"code": HOSTILE, "message": HOSTILE})
    )
    shown = one.line(NOW, width)
    assert shown.plain.isprintable()
    assert len(shown.plain) <= max(width, 60)


@pytest.mark.parametrize(("fraction", "filled"), [(0, 0), (0.5, 5), (1, 10), (7, 10), (-1, 0)])
def test_a_bar_is_never_longer_than_its_place(fraction, filled):
    shown = bar(fraction, 10)
    assert shown.plain == "━" * 10
    assert sum(span.end - span.start for span in shown.spans if span.style == "yellow") == filled


def test_an_event_is_one_harmless_line_and_whole_as_json(capsys):
    hostile = [
        moved("failed", error={"code": HOSTILE, "message": HOSTILE}),
        progress(0.3, HOSTILE),
        moved("running", attempt=2),
    ]
    for one in hostile:
        assert event_line(one).plain.isprintable()
        assert len(event_line(one).plain) < 600
    Listing(render.stdout(), json=True).hear(hostile[0])
    output = capsys.readouterr().out
    assert output.rstrip("\n").isprintable()
    assert json.loads(output) == event_json(hostile[0])
    assert json.loads(output)["error"]["message"] == HOSTILE


def test_a_list_of_events_has_no_log_lines(capsys):
    listing = Listing(render.stdout(), json=False)
    listing.hear(event("log", message="x", fields={}))
    listing.hear(moved("running"))
    assert capsys.readouterr().out == f"2026-01-02T03:04:05Z  {ID}  running  image.thumbnail\n"


def test_the_loss_of_the_server_is_told_once(capsys):
    listing = Listing(render.stdout(), json=False)
    for lost in (False, True, True, False, False):
        listing.lose(lost=lost)
    assert capsys.readouterr().err.splitlines() == [
        "The server is gone; looking for it.", "The server is there again.",
    ]  # fmt: skip


def test_what_runs_comes_first_and_a_last_line_counts():
    standings = [Standing(f"{number}", f"file {number}") for number in range(50)]
    standings[0].take(moved("failed"))
    standings[40].take(moved("running"))
    board = Board(Console(width=80, height=10, file=io.StringIO()), standings)
    lines = board.frame().plain.splitlines()
    assert lines[0].startswith("file 40")
    assert len(lines) == 8
    assert lines[-1] == "1 of 50 finished, 1 failed"
    board.lose(lost=True)
    assert "gone" in board.frame().plain


# ---- top


def running_job(job_id):
    return parse_job({
        "id": job_id, "processor": "image.thumbnail", "params": {}, "state": "running", "priority": 0,
        "progress": {"fraction": 0.25, "message": "a"}, "attempt": 1, "max_attempts": 3, "timeout_s": 600.0,
        "created_at": "2026-01-02T03:04:05Z", "run_after": None, "started_at": "2026-01-02T03:04:05Z",
        "finished_at": None, "inputs": [], "outputs": [], "result": None, "error": None, "metadata": {},
    })  # fmt: skip


def test_jobs_come_and_go_with_their_events():
    picture = Picture(URL)
    picture.take_event(moved("running", job="a"))
    picture.take_event(moved("running", job="b"))
    picture.take_event(progress(0.5, job="a"))
    assert list(picture.running) == ["a", "b"], "a line stays where it is"
    picture.take_event(moved("queued", job="b"))
    picture.take_event(moved("succeeded", job="a"))
    assert (list(picture.running), [one.job_id for _, one in picture.ended]) == ([], ["a"])


def test_what_was_missed_is_asked_for_and_what_ended_meanwhile_stays_ended():
    picture = Picture(URL)
    picture.take_event(moved("running", job="gone"))
    before = list(picture.running)
    picture.take_event(moved("succeeded", job="ended"))
    picture.take_event(moved("running", job="new"))
    picture.take_jobs([running_job("ended"), running_job("missed")], before)
    assert list(picture.running) == ["new", "missed"]


def test_what_is_kept_has_a_limit():
    picture = Picture(URL)
    for number in range(KEPT * 3):
        picture.take_event(moved("succeeded", job=str(number)))
    assert len(picture.ended) == KEPT


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 10), (200, 60)])
def test_the_picture_fits_the_window_whatever_the_jobs_say(width, height):
    picture = Picture(URL + "/" + "x" * 300)
    picture.stats = stats()
    for number in range(60):
        job = f"{ID[:-2]}{number:02}"
        picture.take_event(moved("running", job=job))
        picture.take_event(progress(0.5, HOSTILE, job=job))
        if number % 2:
            picture.take_event(moved("failed", job=job, error={"code": HOSTILE, "message": HOSTILE}))
    text = drawn(picture.frame(NOW, width, height, "q leaves"), width)
    assert text.replace("\n", "").isprintable()
    assert fits(text, width)
    assert f"{ID[:-2]}00" in text
    assert "12,345 queued" in text
    assert "Time" in text
    if height >= 24:
        assert len(text.splitlines()) <= height
        assert "Ended" in text
        assert "more" in text


def test_an_idle_service_has_a_picture_too():
    picture = Picture(URL)
    picture.stats = stats(
        jobs=dict.fromkeys(State, 0), processors={}, throughput=(0.0,) * 30, oldest_queued_age_s=None,
        wait_s=Percentiles(None, None),
    )  # fmt: skip
    text = drawn(picture.frame(NOW, 80, 24))
    assert "nothing is waiting" in text
    assert "0 jobs a minute" in text
    assert "No job is running." in text
    picture.is_lost = True
    assert "gone" in drawn(picture.frame(NOW, 80, 24))


def test_a_line_of_blocks_is_as_high_as_its_values():
    assert spark([0, 1, 2, 4]) == "▁▃▅█"
    assert spark([0, 0]) == "▁▁"
    assert spark([]) == ""


def test_a_megabyte_is_cut_and_what_fits_is_not():
    assert render.cut(HOSTILE, 20).endswith("…")
    assert len(render.cut(HOSTILE, 20)) == 20
    assert render.cut("whole", 5) == "whole"
