"""Log lines: what they hold, and what they must not."""

import json
import logging
import os
from types import SimpleNamespace

import pytest
import structlog

from service.intake.multipart import MultipartReader
from service.logs import set_up_logs
from service.settings import Settings

SECRET = str(0xC0FFEE)  # so that no line of code has it


@pytest.fixture(autouse=True)
def logs():
    """Put back what is there for all tests."""
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    yield
    structlog.configure(**before)
    logging.basicConfig(handlers=handlers, level=level, force=True)
    logging.getLogger("python_multipart").setLevel(logging.NOTSET)


def fail(password):
    """Raise, with a secret in the frame."""
    raise ValueError(len(password))


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("logger", ["ours", "theirs"])
def test_a_traceback_tells_the_place_and_no_value_of_a_variable(capsys, form, logger):
    set_up_logs("info", form)
    try:
        fail(SECRET)
    except ValueError:
        if logger == "ours":
            structlog.get_logger().exception("it failed", job_id="j1")
        else:
            logging.getLogger("theirs").exception("it failed")
    line = capsys.readouterr().err
    assert "it failed" in line
    assert "ValueError" in line
    assert "in fail" in line or '"name": "fail"' in line
    assert SECRET not in line


def test_a_json_line_is_one_object(capsys):
    set_up_logs("info", "json")
    structlog.get_logger().info("it happened", job_id="j1")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["job_id"], line["level"]) == ("it happened", "j1", "info")


@pytest.mark.parametrize("gone", [True, False])
def test_a_server_whose_standard_error_was_closed_or_taken_away_goes_on_to_log(capfd, monkeypatch, gone):
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        set_up_logs("info", "text")
    if gone:
        monkeypatch.setattr("sys.stderr", None)
    structlog.get_logger().info("it happened")
    assert "it happened" in capfd.readouterr().err


def test_what_only_writes_may_stand_in_the_place_of_standard_error(monkeypatch):
    taken: list[str] = []
    set_up_logs("info", "text")
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=taken.append, flush=lambda: None))
    structlog.get_logger().info("it happened")
    assert "it happened" in "".join(taken)


def test_a_stream_that_refuses_a_line_stops_nobody(monkeypatch):
    def refuse(text):
        asked.append(text)
        raise RuntimeError("no")

    asked: list[str] = []
    set_up_logs("info", "text")
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=refuse, flush=refuse))
    structlog.get_logger().info("it happened")
    assert asked


def test_lines_for_a_pipe_that_nobody_reads_are_lost_until_somebody_does(monkeypatch):
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs, "w", encoding="utf-8") as writer:
        set_up_logs("info", "text")
        monkeypatch.setattr("sys.stderr", writer)
        for _ in range(3):
            structlog.get_logger().info("x" * 100_000)
        read = b""
        while b"it is read" not in read:
            structlog.get_logger().info("it is read")
            read += reader.read(2**20)
        assert 0 < read.count(b"x") < 300_000


def test_of_a_form_with_folded_headers_nothing_is_logged(capsys):
    set_up_logs("debug", "text")
    reader = MultipartReader("multipart/form-data; boundary=b", Settings())
    events = list(reader.feed(b'--b\r\nContent-Disposition: form-data;\r\n name="a"\r\n\r\nx\r\n--b--\r\n'))
    assert len(events) == 3
    assert capsys.readouterr().err == ""
