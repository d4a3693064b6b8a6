import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
import typer
from pydantic import SecretStr
from rich.text import Text
from typer.testing import CliRunner

from service.cli import app, full, params, render
from service.cli.exits import MEANINGS, ExitCode, Tally
from service.cli.outputs import name_outputs
from service.cli.schema import params_of, type_words
from service.client import File, ProblemError, ServerUnreachableError, WaitTimeoutError
from service.client.answers import parse_job
from service.clock import SystemClock
from service.errors import DataDirLockedError, FieldError, SettingsError
from service.ownership import owned
from service.settings import Settings, environment_name
from service.states import State
from tests.acceptance.server import clean_environment

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "019ab3f2-8c61-7d52-9f0e-3a5d1c7b2e44"
HOSTILE = "\x1b[31m[red]\u202e\x07\x9b2J\r\ud800.txt"
HELP_LIMIT_S = 0.3


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


def filemill(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)], prog_name="filemill")


def file(name="photo.jpg", number=1):
    return File(f"{ID[:-1]}{number}", name, "image/jpeg", 527_940, "0" * 64, NOW)


def job(**changes):
    body = {
        "id": ID, "processor": "image.thumbnail", "params": {}, "state": "succeeded", "priority": 0,
        "progress": {"fraction": 1.0, "message": ""}, "attempt": 1, "max_attempts": 3, "timeout_s": 600.0,
        "created_at": "2026-01-02T03:04:05Z", "run_after": "2026-01-02T03:04:05Z", "started_at": None,
        "finished_at": None, "inputs": [], "outputs": [], "result": None, "error": None, "metadata": {},
    }  # fmt: skip
    return parse_job(body | changes)


# ---- the command as a whole


def test_starting_up_imports_nothing_slow():
    code = "import sys, service.cli; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True, timeout=30
    )
    slow = {
        "fastapi",
        "starlette",
        "sqlalchemy",
        "sqlmodel",
        "alembic",
        "pyvips",
        "httpx",
        "uvicorn",
        "pydantic_settings",
    }
    assert slow & set(ended.stdout.split()) == set()


@pytest.mark.timed
def test_help_is_quick():
    command = [sys.executable, "-m", "service", "--help"]
    start = time.monotonic()
    subprocess.run(command, env=clean_environment(), capture_output=True, check=True, timeout=30)
    assert time.monotonic() - start < HELP_LIMIT_S


def test_help_tells_every_exit_code():
    output = filemill("--help").stdout
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert re.search(rf"{code.value}  {re.escape(meaning)}", output)


@pytest.mark.parametrize(
    "command",
    [
        ["--help"], ["serve", "-h"], ["submit", "-h"], ["settings", "-h"], ["migrate", "-h"], ["processors", "-h"],
        ["processors", "show", "-h"], ["logs", "-h"], ["top", "-h"],
        ["files", "-h"], ["files", "list", "-h"], ["files", "delete", "-h"],
        ["jobs", "-h"], *(["jobs", name, "-h"] for name in (
            "list", "show", "wait", "watch", "cancel", "retry", "delete", "download",
        )),
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_fits_on_a_small_terminal(command):
    result = filemill(*command)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_serve_has_a_flag_for_every_setting_but_the_url_and_secrets(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    flags = set(re.findall(r"--[a-z][a-z-]*", filemill("serve", "--help").stdout))
    without = {"url"} | {name for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert flags >= {"--" + name.replace("_", "-") for name in Settings.model_fields.keys() - without}
    assert flags.isdisjoint("--" + name.replace("_", "-") for name in without)


def test_sizes_among_the_flags_are_for_people(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert re.search(r"--max-upload-bytes +SIZE +largest body of a request \[10 GiB\]", filemill("serve", "-h").stdout)


def test_settings_tell_a_size_as_bytes_to_programs_and_in_its_unit_to_people():
    flag = ("settings", "--max-upload-bytes", "3GiB")
    rows = {row["name"]: row["value"] for row in json.loads(filemill(*flag, "--json").stdout)}
    assert rows["max_upload_bytes"] == 3 * 1024**3
    assert re.search(r"^max_upload_bytes +3 GiB +flag", filemill(*flag).stdout, re.MULTILINE)


def test_a_secret_is_set_by_its_variable_and_never_shown(monkeypatch):
    monkeypatch.setenv("FILEMILL_SMTP_PASSWORD", "hunter2")
    for result in (filemill("settings"), filemill("settings", "--json")):
        assert result.exit_code == 0
        assert "environment" in result.stdout
        assert "hunter2" not in result.output


# ---- settings


def test_a_wrong_setting_ends_with_2_and_one_sentence():
    result = filemill("serve", "--port", "abc")
    assert result.exit_code == ExitCode.USAGE
    assert re.fullmatch(r"Error: FILEMILL_PORT: .*\n", result.stderr)
    assert result.stdout == ""


def test_a_misspelt_variable_ends_with_2(monkeypatch):
    monkeypatch.setenv("FILEMILL_PROT", "1")
    result = filemill("jobs")
    assert (result.exit_code, result.stderr) == (
        2, "Error: FILEMILL_PROT is not a setting; did you mean FILEMILL_PORT?\n",
    )  # fmt: skip


def test_a_server_that_cannot_start_ends_with_1_and_one_sentence(monkeypatch):
    def refuse(_settings):
        raise DataDirLockedError("the folder data belongs to process 42")

    monkeypatch.setattr("service.app.serve", refuse)
    result = filemill("serve")
    assert (result.exit_code, result.stderr) == (1, "Error: the folder data belongs to process 42\n")


def test_serve_hands_its_flags_to_the_server(monkeypatch):
    monkeypatch.setenv("FILEMILL_PORT", "9000")
    monkeypatch.setenv("FILEMILL_CONSUMERS", "7")
    seen: list[Settings] = []
    monkeypatch.setattr("service.app.serve", seen.append)
    assert filemill("serve", "--port", "0", "--data-dir", "here").exit_code == 0
    assert (seen[0].port, seen[0].consumers, str(seen[0].data_dir)) == (0, 7, "here")


def test_settings_say_which_variables_are_not_theirs(monkeypatch):
    monkeypatch.setenv("FILEMILL_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("FILEMILL_HOST", "")
    result = filemill("settings", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert (rows["port"]["value"], rows["port"]["source"]) == (8000, "default")
    assert (rows["host"]["value"], rows["host"]["source"]) == ("127.0.0.1", "default")
    assert result.stderr.startswith("Ignored, for Kubernetes makes them of a Service: FILEMILL_PORT; set enableService")


@pytest.mark.parametrize("command", [["serve"], ["settings"], ["migrate"]], ids=" ".join)
def test_an_empty_folder_on_the_command_line_is_not_this_folder(command):
    result = filemill(*command, "--data-dir", "")
    assert (result.exit_code, result.stderr.split(";")[0]) == (2, "Error: FILEMILL_DATA_DIR: --data-dir is empty")


def test_settings_say_where_each_value_came_from(monkeypatch):
    monkeypatch.setenv("FILEMILL_CONSUMERS", "7")
    rows = {row["name"]: row for row in json.loads(filemill("settings", "--port", "9", "--json").stdout)}
    assert list(rows) == list(Settings.model_fields)
    assert [rows[name]["source"] for name in ("port", "consumers", "host")] == ["flag", "environment", "default"]
    assert rows["retention_s"] == {
        "name": "retention_s", "variable": "FILEMILL_RETENTION_S", "value": 604800.0, "unit": "s",
        "source": "default", "meaning": "time that finished jobs and their files are kept",
    }  # fmt: skip


@pytest.mark.parametrize(("columns", "shown"), [("80", "retention_s"), ("120", "FILEMILL_RETENTION_S")])
def test_settings_fit_the_terminal(monkeypatch, columns, shown):
    monkeypatch.setenv("COLUMNS", columns)
    output = filemill("settings").stdout
    assert max(map(len, output.splitlines())) <= int(columns)
    assert re.search(rf"^{shown} +7 d +default +time that", output, re.MULTILINE)


# ---- values on the command line


def test_a_param_is_json_if_it_parses_and_text_if_not():
    pairs = ["width=800", "fit=cover", 'list=["a", 1]', "yes=true", "number=NaN", "text=a=b", "empty=", 'quoted="7"']
    assert params.merge_params(None, pairs) == {
        "width": 800, "fit": "cover", "list": ["a", 1], "yes": True, "number": "NaN", "text": "a=b", "empty": "",
        "quoted": "7",
    }  # fmt: skip


def test_single_params_win_over_the_object():
    assert params.merge_params('{"width": 1, "fit": "fill"}', ["width=2"]) == {"width": 2, "fit": "fill"}


@pytest.mark.parametrize("text", ["width", "=1", ""])
def test_a_param_without_a_name_or_a_value_is_refused(text):
    with pytest.raises(typer.BadParameter, match="is not key=value"):
        params.merge_params(None, [text])


def test_a_param_that_comes_twice_is_refused_and_not_overlooked():
    with pytest.raises(typer.BadParameter, match="width came twice"):
        params.merge_params(None, ["width=1", "fit=fill", "width=2"])
    with pytest.raises(typer.BadParameter, match=r"sizes\.a came twice"):
        params.merge_params('{"sizes": {"a": 1, "a": 2}}', [])
    with pytest.raises(typer.BadParameter, match="a came twice"):
        params.merge_params(None, ['sizes={"a": 1, "a": 2}'])


def test_a_byte_order_mark_before_params_is_passed_over():
    assert params.json_object('\ufeff{"width": 1}', "--params") == {"width": 1}
    assert params.merge_params(None, ['size=\ufeff{"width": 1}']) == {"size": {"width": 1}}


@pytest.mark.parametrize("text", ["[1]", "1", "{", '{"a": NaN}', "[" * 100_000, '{"a": "\udcff"}', '{"a": 1e999}'])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(typer.BadParameter):
        params.json_object(text, "--params")


def test_an_instant_without_a_zone_is_local_time(monkeypatch):
    assert params.instant("2030-01-31T18:00Z") == datetime(2030, 1, 31, 18, tzinfo=UTC)
    assert params.instant("2030-01-31T18:00+02:00") == datetime(2030, 1, 31, 16, tzinfo=UTC)
    monkeypatch.setenv("TZ", "UTC-3")
    time.tzset()
    try:
        assert params.instant("2030-01-31T18:00") == datetime(2030, 1, 31, 15, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"], ["submit", "a.b", "/nowhere"], ["submit", "a.b", "/"], ["submit", "a.b", "-p", "x"],
        ["submit", "a.b", "--params", "1"], ["submit", "a.b", "--run-after", "soon"], ["submit", "a.b", "-", "-"],
        ["submit", "a.b", "--each"], ["submit", "a.b", __file__, __file__, "--each", "--idempotency-key", "k"],
        ["jobs", "--state", "odd"], ["jobs", "--limit", "0"], ["jobs", "delete", ID], ["jobs", "wait"], ["odd"],
        ["jobs", "--url", "localhost:8000"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_line_ends_with_2_before_anything_is_sent(arguments):
    result = filemill(*arguments)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert "Traceback" not in result.stderr


def test_no_server_ends_with_3_and_the_way_to_start_one(unused_tcp_port):
    result = filemill("jobs", "--url", f"http://127.0.0.1:{unused_tcp_port}")
    assert (result.exit_code, result.stdout) == (ExitCode.UNREACHABLE, "")
    assert re.fullmatch(
        r"Error: no server answers at http://\S+ \(.*\); start one with `filemill serve`.*\n", result.stderr
    )


# ---- errors


def fail(error: Exception) -> None:
    raise error


def test_after_a_refusal_the_rest_is_done_and_the_worst_code_wins(capsys):
    tally = Tally()
    with tally.going_on("job 1"):
        fail(ProblemError(404, "job_not_found", "There is no such job", "no job 1"))
    with tally.going_on("job 2"):
        fail(WaitTimeoutError(job(state="running"), 5))
    with tally.going_on("job 3"):
        pass
    with pytest.raises(typer.Exit) as caught:
        tally.finish()
    assert caught.value.exit_code == ExitCode.TIMED_OUT
    assert capsys.readouterr().err.splitlines() == [
        "Error: job 1: no job 1", f"Error: job 2: job {ID} is still running after 5 s; it goes on",
    ]  # fmt: skip


@pytest.mark.parametrize("error", [ServerUnreachableError("gone"), SettingsError("wrong"), ZeroDivisionError()])
def test_what_would_hit_the_rest_too_is_not_swallowed(error):
    with pytest.raises(type(error)), Tally().going_on():
        raise error


def test_each_wrong_field_has_a_line(capsys):
    errors = [FieldError("params.width", "int", "not a \x1b[31mnumber")]
    with Tally().going_on():
        fail(ProblemError(422, "invalid_params", "No fit", "these params do not fit", errors))
    assert capsys.readouterr().err == "Error: these params do not fit\n  params.width: not a \\x1b[31mnumber\n"


def test_the_first_line_does_not_name_the_fields_that_the_next_ones_tell_of(capsys):
    errors = [FieldError("params.a", "int", "too small"), FieldError("params.b", "int", "too large")]
    with Tally().going_on():
        fail(ProblemError(422, "invalid_params", "No fit", "x.y cannot take these params: params.a, params.b", errors))
    assert capsys.readouterr().err.splitlines() == [
        "Error: x.y cannot take these params:", "  params.a: too small", "  params.b: too large",
    ]  # fmt: skip


# ---- what people read


def test_nothing_in_a_hostile_name_reaches_the_terminal():
    shown = render.plain(HOSTILE)
    assert shown == "\\x1b[31m[red]\\u202e\\x07\\x9b2J\\r\\ud800.txt"
    assert shown.isprintable()


def test_a_hostile_job_is_shown_as_it_is_called(capsys):
    hostile = {"id": ID, "name": HOSTILE, "media_type": HOSTILE, "size_bytes": 1, "sha256": ""}
    hostile["created_at"] = "2026-01-02T03:04:05Z"
    body = {
        "processor": HOSTILE, "params": {HOSTILE: HOSTILE}, "metadata": {"a": HOSTILE}, "result": {HOSTILE: [HOSTILE]},
        "error": {"code": HOSTILE, "message": HOSTILE, "traceback": HOSTILE}, "inputs": [hostile], "outputs": [hostile],
        "progress": {"fraction": 0.5, "message": HOSTILE},
    }  # fmt: skip
    full.print_job(job(state="failed", **body))
    render.print_jobs([job(**body)])
    render.complain(HOSTILE)
    captured = capsys.readouterr()
    assert (captured.out + captured.err).replace("\n", "").isprintable()
    assert captured.out.count("[red]") >= 9


def test_json_stays_json_and_shows_no_trick(capsys):
    render.print_json({"name": HOSTILE, "other": "Größe\n写真"})
    output = capsys.readouterr().out
    assert json.loads(output) == {"name": HOSTILE, "other": "Größe\n写真"}
    assert output.replace("\n", "").isprintable()
    assert "Größe\\n写真" in output


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_array_is_json_at_any_length(capsys, count):
    render.print_json_array({"number": number} for number in range(count))
    assert [one["number"] for one in json.loads(capsys.readouterr().out)] == list(range(count))


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("state", State)
def test_a_list_of_jobs_fits_the_terminal_and_keeps_whole_ids(monkeypatch, capsys, columns, state):
    monkeypatch.setenv("COLUMNS", columns)
    render.print_jobs([job(state=state, processor="company.department.very_long_name_of_a_processor")])
    output = capsys.readouterr().out
    assert ID in output
    assert max(map(len, output.splitlines())) <= int(columns)


def test_a_job_in_full_fits_the_terminal_and_keeps_whole_ids(capsys):
    long = {"name": "n" * 300, "media_type": "application/" + "m" * 80, "size_bytes": 10**12, "sha256": ""}
    inputs = [{"id": f"{ID[:-1]}{number}", "created_at": "2026-01-02T03:04:05Z", **long} for number in range(3)]
    full.print_job(job(inputs=inputs))
    output = capsys.readouterr().out
    assert all(one["id"] in output for one in inputs)
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize(
    "changes",
    [
        {"error": {"code": "failed", "message": "first " + "x" * 100_000 + " last"}},
        {"error": {"code": "failed", "message": "no", "traceback": "first\n" + "line\n" * 100_000 + "last"}},
        {"result": ["first", *["y" * 100] * 20_000, "last"]},
        {"params": {"first": "z" * 100_000, "last": 1}},
        {"metadata": {"first": ["m"] * 100_000, "last": 1}},
    ],
    ids=["message", "traceback", "result", "params", "metadata"],
)
@pytest.mark.parametrize("columns", ["80", ""])
def test_a_long_text_is_shown_by_its_ends_and_the_way_to_the_whole(monkeypatch, capsys, columns, changes):
    monkeypatch.setenv("COLUMNS", columns)
    full.print_job(job(state="failed", **changes))
    output = capsys.readouterr().out
    assert len(output) < 5 * full.MAX_SHOWN
    assert "first" in output
    assert "last" in output
    flowing = " ".join(output.split())
    assert re.search(rf"… \S+ of \S+ characters are left out; `filemill jobs show {ID} --json` prints all …", flowing)


@pytest.mark.parametrize(("losses", "words"), [(1, "died once while"), (3, "died 3 times in a row while")])
def test_a_job_that_the_server_died_under_says_so(capsys, losses, words):
    full.print_job(job(state="queued", losses=losses))
    assert words in capsys.readouterr().out
    full.print_job(job(losses=0))
    full.print_job(job())  # of an older server
    assert "died" not in capsys.readouterr().out


def test_of_many_files_the_first_are_shown_and_the_rest_counted(capsys):
    one = {"id": ID, "name": "page.png", "media_type": "image/png", "size_bytes": 1, "sha256": ""}
    full.print_job(job(outputs=[one | {"created_at": "2026-01-02T03:04:05Z"}] * (full.MAX_FILES + 1200)))
    output = " ".join(capsys.readouterr().out.split())
    assert output.count("page.png") == full.MAX_FILES
    assert f"… and 1,200 more; `filemill jobs show {ID} --json` prints all" in output


def test_a_text_that_is_not_long_is_shown_whole(capsys):
    full.print_job(job(result="y" * (full.MAX_SHOWN - 2)))
    assert capsys.readouterr().out.count("y") >= full.MAX_SHOWN - 2


def test_in_a_pipe_nothing_is_broken_into_lines(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS")
    path = 'File "/srv/' + "folder/" * 40 + 'mine.py", line 3'
    full.print_job(job(state="failed", error={"code": "failed", "message": "no", "traceback": f"first\n{path}"}))
    render.print_jobs([job(processor="a_long_name." * 30 + "end", inputs=[])])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert path in lines
    assert [line.split()[2] for line in lines if line.startswith(f"{ID} ")] == ["a_long_name." * 30 + "end"]


def test_a_pipe_that_is_given_a_width_keeps_to_it(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    full.print_job(job(state="failed", error={"code": "failed", "message": "word " * 100}))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_in_a_pipe_each_processor_is_one_line(monkeypatch):
    monkeypatch.delenv("COLUMNS")
    lines = filemill("processors", "--local").stdout.splitlines()
    names = [one["name"] for one in json.loads(filemill("processors", "--local", "--json").stdout)]
    assert [line.split()[0] for line in lines[1:]] == names


def test_help_in_a_pipe_is_as_wide_as_ever(monkeypatch):
    monkeypatch.delenv("COLUMNS")
    assert max(map(len, filemill("--help").stdout.splitlines())) <= 80


def test_many_jobs_are_printed_by_the_page_under_one_header(capsys):
    render.print_jobs(job() for _ in range(render.PAGE * 2 + 1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == render.PAGE * 2 + 2
    assert sum(line.startswith("Job ") for line in lines) == 1


def test_an_empty_list_says_so_beside_the_data(capsys):
    render.print_jobs([])
    assert capsys.readouterr() == ("", "No jobs.\n")


def test_a_job_that_runs_later_says_when(capsys):
    later = SystemClock().now() + timedelta(hours=5, minutes=30)
    full.print_job(job(state="queued", run_after=later.isoformat()))
    assert re.search(r"^Runs +\d{4}-.* UTC \(in 5 h\)$", capsys.readouterr().out, re.MULTILINE)


def test_each_state_has_a_colour():
    assert {render.state_text(job(state=state)).style for state in State} == set(render.STATE_STYLES.values())
    running = job(state="running", progress={"fraction": 0.4, "message": ""})
    assert render.state_text(running) == Text("running 40%", "yellow")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (527_940, "516 KiB"),
        (10 * 1024**3, "10 GiB"),
    ],
)
def test_sizes_are_for_people(count, words):
    assert render.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "just now"), (5.9, "5 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (10**6, "11 d ago"), (-90, "in 1 min")],
)
def test_ages_are_for_people(seconds, words):
    assert render.age(NOW, NOW + timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (600.0, "s", "10 min"), (90.0, "s", "90 s"), (604800.0, "s", "7 d"), (0.5, "s", "0.5 s"), (0, "s", "0 s"),
        (10 * 1024**3, "bytes", "10 GiB"), (1000, "bytes", "1000 bytes"), (0, "bytes", "0 bytes"),
        (123456789, "bytes", "123456789 bytes"), (3 * 1024 + 1, "bytes", "3073 bytes"),
    ],
)  # fmt: skip
def test_settings_are_shown_in_the_largest_unit_that_loses_nothing(value, unit, words):
    assert render.exact(value, unit) == words


def test_outputs_of_one_name_are_told_apart():
    files = [file("a.txt"), file("../A.TXT"), file("a-2.txt"), file("a.txt"), file("..", number=5)]
    assert [name for _, name in name_outputs(files)] == ["a.txt", "A-2.TXT", "a-2-2.txt", "a-3.txt", files[4].id]


# ---- schemas


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "whole number, 1 to 9"),
        ({"type": "number", "exclusiveMinimum": 0}, "number, above 0"),
        ({"enum": ["a", "b"], "type": "string"}, "a | b"),
        ({"const": "a"}, "a"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "whole number, at least 1 or null"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 3}, "list of text, at most 3 items"),
        ({"type": "array"}, "list"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "boolean"}, "true or false"),
        ({"$ref": "#/$defs/Fit"}, "x | y"),
        ({"$ref": "#/$defs/Tree"}, "Tree"),
        ({"$ref": "#/$defs/Missing"}, "anything"),
        ({}, "anything"),
    ],
)
def test_a_schema_is_told_in_words(schema, words):
    tree = {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}}
    assert type_words(schema, {"Fit": {"enum": ["x", "y"]}, "Tree": tree}) == words


def test_params_are_told_in_their_order():
    schema = {"properties": {"b": {"type": "integer"}, "a": {"type": "string", "default": "x"}}, "required": ["b"]}
    assert [(one.name, one.is_required, one.default) for one in params_of(schema)] == [
        ("b", True, ""),
        ("a", False, '"x"'),
    ]


def test_processors_can_be_shown_without_a_server():
    assert "image.thumbnail" in filemill("processors", "--local").stdout
    assert re.search(
        r"^width +whole number", filemill("processors", "show", "image.thumbnail", "--local").stdout, re.MULTILINE
    )


def test_an_object_in_the_params_is_told_part_by_part(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = filemill("processors", "show", "image.thumbnail", "--local").stdout
    assert re.search(r"^sizes +list of Box", shown, re.MULTILINE)
    _, _, box = shown.partition("Box, an object\n")
    assert [line.split()[0] for line in box.splitlines()[1:] if not line.startswith(" ")] == ["width", "height", "fit"]
    assert re.search(r"^width +whole number, 1 to \d+ +required", box, re.MULTILINE)


def test_an_unknown_processor_ends_with_1_and_the_nearest_name():
    result = filemill("processors", "show", "image.thumnail", "--local")
    assert (result.exit_code, result.stdout) == (ExitCode.REFUSED, "")
    assert "did you mean image.thumbnail" in result.stderr


def test_migrate_makes_the_database_and_says_where_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (filemill("migrate", "--data-dir", "data") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert re.fullmatch(r"Made the database data/filemill\.db, at revision \w+\.\n", first.stderr)
    assert re.fullmatch(r"The database data/filemill\.db is up to date, at revision \w+\.\n", second.stderr)
    assert (tmp_path / "data" / "filemill.db").is_file()


def test_migrate_tells_in_a_sentence_that_the_file_is_no_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filemill.db").write_bytes(b"no database at all" * 100)
    result = filemill("migrate", "--data-dir", ".")
    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr == "Error: the database filemill.db cannot be used: file is not a database\n"
    assert (tmp_path / "filemill.db").read_bytes() == b"no database at all" * 100


def test_migrate_leaves_a_folder_alone_that_a_server_owns(tmp_path):
    with owned(tmp_path):
        result = filemill("migrate", "--data-dir", tmp_path)
    assert result.exit_code == ExitCode.REFUSED
    assert f"belongs to the server with process id {os.getpid()}" in result.stderr
    assert not (tmp_path / "filemill.db").exists()
