"""The command line as people and scripts meet it: real processes against a real server, and a real terminal."""

import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.acceptance import patient_processors
from tests.acceptance.invariants import require
from tests.acceptance.server import REPOSITORY, Server, clean_environment, run_server

PHOTO = REPOSITORY / "tests" / "samples" / "rocket.jpg"
LIMIT_S = 60
OK, REFUSED, USAGE, UNREACHABLE, TIMED_OUT = range(5)
NOBODY = "http://127.0.0.1:1"  # a port that nothing listens on
UNKNOWN_ID = "01900000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = Path(patient_processors.__file__)
    with run_server(tmp_path_factory.mktemp("cli") / "data", processors=place) as server:
        yield server


def command_of(arguments):
    return [sys.executable, "-m", "service", *map(str, arguments)]


def run(*arguments, code=OK, url=None, cwd=None, stdin=b"", **settings):
    """Run `filemill` where nobody watches; return what it printed, as text, after a look at its manners."""
    environment = clean_environment(**({"url": url} if url else {}), **settings)
    ended = subprocess.run(
        command_of(arguments), env=environment, cwd=cwd, input=stdin, capture_output=True, timeout=LIMIT_S, check=False
    )
    said = ended.stderr.decode()
    assert ended.returncode == code, said
    assert "Traceback" not in said
    assert b"\x1b" not in ended.stdout + ended.stderr
    return ended.stdout.decode(), said


def run_in_terminal(*arguments, url, typed=b"", cwd=None):
    """Run `filemill` with messages and keys on a terminal and data in a pipe; return code, data and messages."""
    ours, theirs = pty.openpty()
    environment = clean_environment(url=url) | {"TERM": "xterm", "COLUMNS": "100"}
    shown = bytearray()

    def watch():
        with contextlib.suppress(OSError):  # so Linux says that nobody has the terminal open any more
            while piece := os.read(ours, 4096):
                shown.extend(piece)

    with subprocess.Popen(
        command_of(arguments), env=environment, cwd=cwd, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        os.write(ours, typed)
        data, _ = process.communicate(timeout=LIMIT_S)
        watcher.join(LIMIT_S)
    os.close(ours)
    return process.returncode, data.decode(), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def submit_for_later(server):
    """Submit, past the command line, a job that stays queued; return its id."""
    body = {"processor": "text.write", "params": {"name": "x.txt", "content": "x"}, "run_after": "2100-01-01T00:00:00Z"}
    answer = httpx.post(f"{server.url}/v1/jobs", json=body, trust_env=False)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def state_of(server, job_id):
    return httpx.get(f"{server.url}/v1/jobs/{job_id}", trust_env=False).json()["state"]


# ---- submit


def test_submit_prints_the_id_alone_and_the_job_can_be_waited_for(server):
    output, said = run("submit", "file.checksum", PHOTO, url=server.url)
    job_id = str(UUID(output.strip()))
    assert (output, said) == (f"{job_id}\n", "")
    waited, _ = run("jobs", "wait", job_id, url=server.url)
    assert re.search(r"^State +succeeded$", waited, re.MULTILINE)


def test_submit_waits_and_prints_the_job_as_json(server):
    content = '{"name": "note.txt", "content": "one\\n"}'
    job = json.loads(run("submit", "text.write", "--params", content, "--wait", "--json", url=server.url)[0])
    assert (job["state"], [file["size_bytes"] for file in job["outputs"]]) == ("succeeded", [4])


def test_standard_input_is_a_file(server):
    job = json.loads(run("submit", "file.checksum", "-", "-w", "--json", url=server.url, stdin=b"abc")[0])
    assert [(file["name"], file["size_bytes"]) for file in job["inputs"]] == [("stdin", 3)]


def test_a_job_that_fails_ends_with_1_and_its_error_is_shown(server, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(PHOTO.read_bytes()[:3000])
    output, _ = run("submit", "image.thumbnail", broken, "--wait", url=server.url, code=REFUSED)
    assert re.search(r"^State +failed$", output, re.MULTILINE)
    assert re.search(r"^Error +\w+: .broken.jpg. cannot be read", output, re.MULTILINE)


def test_of_several_files_each_can_be_a_job_and_one_that_fails_stops_no_other(server, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    output, said = run(
        "submit", "image.thumbnail", broken, PHOTO, "--each", "-o", "out", url=server.url, cwd=tmp_path, code=REFUSED
    )
    (made,) = (tmp_path / "out").iterdir()
    assert output == f"out/{made.name}\n"
    assert re.search("^Error: .*broken.jpg", said)


def test_a_refusal_names_each_field_that_is_wrong(server):
    _, said = run(
        "submit", "image.thumbnail", PHOTO, "-p", "width=wide", "-p", "colour=red", url=server.url, code=REFUSED
    )
    assert said.startswith("Error: ")
    assert [line.split(":")[0] for line in said.splitlines()[1:]] == ["  params.width", "  params.colour"]


def test_an_unknown_processor_is_answered_with_the_nearest(server):
    _, said = run("submit", "image.thumbnial", PHOTO, url=server.url, code=REFUSED)
    assert "did you mean image.thumbnail" in said


def test_a_file_that_is_not_there_is_a_wrong_command_line(server):
    _, said = run("submit", "file.checksum", "nothere.jpg", url=server.url, code=USAGE)
    assert "nothere.jpg is not there" in said


# ---- in a terminal


def test_a_terminal_gets_a_bar_and_a_pipe_gets_the_id(server, tmp_path):
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(30_000_000))
    code, data, shown = run_in_terminal("submit", "file.checksum", big, url=server.url)
    assert (code, str(UUID(data.strip()))) == (OK, data.strip())
    assert "Sending big.bin" in shown
    assert "of 29 MiB" in shown


def test_the_paths_of_downloads_go_to_the_pipe_while_bars_are_shown(server, tmp_path):
    code, data, shown = run_in_terminal(
        "submit", "image.thumbnail", PHOTO, "-p", "width=90", "-o", "out", url=server.url, cwd=tmp_path
    )
    assert (code, data) == (OK, "out/rocket-90w.jpg\n")
    assert "Waiting" in shown
    assert (tmp_path / "out" / "rocket-90w.jpg").is_file()


def test_delete_asks_in_a_terminal_and_takes_no_for_an_answer(server):
    job_id = submit_for_later(server)
    code, _, shown = run_in_terminal("jobs", "delete", job_id, url=server.url, typed=b"n\n")
    assert code == REFUSED
    assert "Delete this job and its files? [y/N]" in shown
    assert state_of(server, job_id) == "queued"
    code, _, shown = run_in_terminal("jobs", "delete", job_id, url=server.url, typed=b"y\n")
    assert code == OK
    assert f"Deleted {job_id}." in shown
    assert httpx.get(f"{server.url}/v1/jobs/{job_id}", trust_env=False).status_code == 404


# ---- jobs


def test_jobs_are_listed_newest_first_and_filtered(server):
    ids = [submit_for_later(server) for _ in range(2)]
    listed = json.loads(run("jobs", "list", "--state", "queued", "--limit", 2, "--json", url=server.url)[0])
    assert [job["id"] for job in listed] == ids[::-1]
    table, _ = run("jobs", "--processor", "text.write", url=server.url)
    assert table.split()[:5] == ["Job", "State", "Processor", "Try", "Age"]
    assert [line.split()[:3] for line in table.splitlines()[1:3]] == [
        [job_id, "queued", "text.write"] for job_id in ids[::-1]
    ]


def test_a_wait_that_is_too_short_ends_with_4_and_leaves_the_job(server):
    job_id = submit_for_later(server)
    _, said = run("jobs", "wait", job_id, "--timeout-s", 0.2, url=server.url, code=TIMED_OUT)
    assert said == f"Error: job {job_id} is still queued after 0.2 s; it goes on\n"
    assert state_of(server, job_id) == "queued"


def test_a_job_is_cancelled_retried_and_downloaded(server, tmp_path):
    job_id = submit_for_later(server)
    assert json.loads(run("jobs", "cancel", job_id, "--json", url=server.url)[0])[0]["state"] == "cancelled"
    assert "the job is cancelled" in run("jobs", "cancel", job_id, url=server.url, code=REFUSED)[1]
    assert job_id in run("jobs", "retry", job_id, url=server.url)[0]
    run("jobs", "wait", job_id, url=server.url)
    _, said = run("jobs", "retry", job_id, url=server.url, code=REFUSED)
    assert said.startswith(f"Error: {job_id}: the job is succeeded")
    output, _ = run("jobs", "download", job_id, "-o", tmp_path, url=server.url)
    assert Path(output.strip()).read_text() == "x"


def test_a_running_job_is_not_deleted_until_it_is_cancelled(server, tmp_path):
    submitted, _ = run("submit", "patient.child", "-p", f"path={tmp_path / 'never'}", url=server.url)
    job_id = submitted.strip()
    require(lambda: [] if state_of(server, job_id) == "running" else ["it does not run"], time.monotonic() + LIMIT_S)
    assert "running" in run("jobs", "delete", job_id, "--yes", url=server.url, code=REFUSED)[1]
    run("jobs", "cancel", job_id, url=server.url)
    run("jobs", "wait", job_id, url=server.url, code=REFUSED)
    run("jobs", "delete", job_id, "--yes", url=server.url)


def test_a_download_touches_no_file_that_is_there_unless_told_to(server, tmp_path):
    content = '{"name": "note.txt", "content": "new"}'
    job_id = run("submit", "text.write", "--params", content, url=server.url)[0].strip()
    run("jobs", "wait", job_id, url=server.url)
    place = tmp_path / "note.txt"
    place.write_text("old")
    _, said = run("jobs", "download", job_id, "-o", tmp_path, url=server.url, code=REFUSED)
    assert (said, place.read_text()) == (f"Error: {place} is there already; --overwrite replaces it\n", "old")
    output, _ = run("jobs", "download", job_id, "-o", tmp_path, "--overwrite", url=server.url)
    assert (output, place.read_text()) == (f"{place}\n", "new")


def test_a_folder_for_downloads_that_is_a_file_is_a_wrong_command_line(server, tmp_path):
    (tmp_path / "file").touch()
    for command in (["jobs", "download", UNKNOWN_ID], ["submit", "file.checksum", PHOTO]):
        _, said = run(*command, "-o", tmp_path / "file", url=server.url, code=USAGE)
        assert "is a file" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["submit", "file.checksum", PHOTO, "--idempotency-key", "a\nb"], USAGE),
        (["submit", "odd-\udcff", PHOTO], USAGE),
        (["submit", "file.checksum", "--timeout-s", "nan"], USAGE),
        (["jobs", "--processor", "\udcff"], USAGE),
        (["jobs", "show", "\udcff"], REFUSED),
    ],
    ids=["header", "field", "body", "query", "path"],
)
def test_what_cannot_be_sent_is_told_in_a_sentence(server, arguments, code):
    _, said = run(*arguments, url=server.url, code=code)
    assert re.fullmatch("Error: (the request cannot be sent: .+|there is no job .+)\n", said)


def test_what_is_not_there_is_told_in_a_sentence(server):
    _, said = run("jobs", "show", UNKNOWN_ID, url=server.url, code=REFUSED)
    assert said == f"Error: there is no job {UNKNOWN_ID}\n"
    _, said = run(
        "jobs", "wait", UNKNOWN_ID, submit_for_later(server), "--timeout-s", 0, url=server.url, code=TIMED_OUT
    )
    assert said.startswith(f"Error: {UNKNOWN_ID}: there is no job {UNKNOWN_ID}\n")


def test_stored_files_are_listed_and_deleted(server):
    ids = [httpx.post(f"{server.url}/v1/files?filename={name}", content=b"x").json()["id"] for name in ("a.txt", "b")]
    listed = json.loads(run("files", "--unused", "--json", url=server.url)[0])
    assert [(one["id"], one["name"], one["size_bytes"]) for one in listed[:2]] == [
        (ids[1], "b", 1),
        (ids[0], "a.txt", 1),
    ]
    assert run("files", "-n", "1", url=server.url)[0].splitlines()[1].split()[::5] == [ids[1], "b"]
    assert "--yes" in run("files", "delete", *ids, url=server.url, code=USAGE)[1]
    _, said = run("files", "delete", ids[0], UNKNOWN_ID, ids[1], "--yes", url=server.url, code=REFUSED)
    assert (said.count("Deleted"), UNKNOWN_ID in said) == (2, True)
    assert not set(ids) & {one["id"] for one in json.loads(run("files", "--json", "--all", url=server.url)[0])}


def test_nothing_is_deleted_when_nobody_is_there_to_ask(server):
    job_id = submit_for_later(server)
    assert "--yes" in run("jobs", "delete", job_id, url=server.url, code=USAGE)[1]
    assert state_of(server, job_id) == "queued"


def test_a_reader_that_has_seen_enough_is_no_error(server):
    for _ in range(2):
        submit_for_later(server)
    with subprocess.Popen(
        command_of(["jobs", "--all", "--json"]),
        env=clean_environment(url=server.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        said = process.stderr.read()
    assert b"Traceback" not in said


# ---- processors, settings, migrate


def test_processors_are_listed_and_their_params_explained(server):
    table, _ = run("processors", url=server.url)
    assert {"image.thumbnail", "file.checksum", "text.write"} <= {line.split()[0] for line in table.splitlines()[1:]}
    known = json.loads(run("processors", "--json", url=server.url)[0])
    assert {"name", "summary", "accepts", "params_schema", "limits"} <= known[0].keys()
    one, _ = run("processors", "show", "image.thumbnail", url=server.url)
    assert re.search(r"^width +whole number", one, re.MULTILINE)


def test_settings_say_where_each_value_came_from(tmp_path):
    output, _ = run("settings", "--consumers", 3, "--json", cwd=tmp_path, port=9000)
    sources = {row["name"]: (row["value"], row["source"]) for row in json.loads(output)}
    assert sources["consumers"] == (3, "flag")
    assert sources["port"] == (9000, "environment")
    assert sources["host"] == ("127.0.0.1", "default")
    table, _ = run("settings", cwd=tmp_path, retention_s=90)
    assert re.search(r"^FILEMILL_RETENTION_S +90 s +environment ", table, re.MULTILINE)


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["settings"], ["jobs"]], ids=" ".join)
def test_a_variable_that_is_unknown_or_wrong_is_told_before_anything_is_done(tmp_path, command):
    _, said = run(*command, cwd=tmp_path, code=USAGE, prot=9000)
    assert said == "Error: FILEMILL_PROT is not a setting; did you mean FILEMILL_PORT?\n"
    _, said = run(*command, cwd=tmp_path, code=USAGE, consumers="many")
    assert re.fullmatch(r"Error: FILEMILL_CONSUMERS: .* integer.*\n", said)
    assert list(tmp_path.iterdir()) == []


def test_a_server_in_a_pod_starts_beside_a_service_of_its_name_and_says_what_it_ignores(tmp_path):
    given = {"service_host": "10.0.0.1", "web_port": "tcp://10.0.0.1:80", "port": "tcp://10.0.0.1:80", "host": ""}
    with run_server(tmp_path / "data", **given) as server:
        assert run("jobs", "--json", url=server.url, **given)[0].split() == ["[]"]
    [line] = [line for line in server.output.splitlines() if "variables of Services ignored" in line]
    for word in ("FILEMILL_SERVICE_HOST", "FILEMILL_WEB_PORT", "enableServiceLinks: false"):
        assert word in line


def test_migrate_makes_a_database_that_a_server_takes(tmp_path):
    run("migrate", "--data-dir", tmp_path / "data")
    with run_server(tmp_path / "data") as server:
        assert run("jobs", url=server.url) == ("", "No jobs.\n")
        assert "database migrated" not in server.output
        _, said = run("migrate", "--data-dir", server.data_dir, code=REFUSED)
        assert f"process id {server.pid}" in said


# ---- the streams that it is started with


def command_with(redirections, *arguments):
    """Return a command with closed or odd streams."""
    return ["sh", "-c", f'exec "$@" {redirections}', "sh", *command_of(arguments)]


def test_a_server_without_standard_streams_serves(tmp_path):
    server = Server(tmp_path / "data")
    server.launcher = command_with("<&- >&- 2>&-")
    try:
        server.start()
        job_id = run("submit", "file.checksum", PHOTO, "--wait", "--json", url=server.url)[0]
        assert json.loads(job_id)["state"] == "succeeded"
        assert server.stop() == 0
    finally:
        server.destroy()


@pytest.mark.parametrize(
    ("redirections", "arguments", "said"),
    [
        (">/dev/full", ["settings", "--json"], "Error: cannot write: No space left on device\n"),
        ("<&-", ["submit", "file.checksum", "-"], "Error: stdin: Bad file descriptor\n"),
    ],
    ids=["full", "closed"],
)
def test_a_stream_of_no_use_is_told_in_a_sentence(server, redirections, arguments, said):
    command = command_with(redirections, *arguments)
    ended = subprocess.run(
        command, env=clean_environment(url=server.url), capture_output=True, timeout=LIMIT_S, check=False
    )
    assert (ended.returncode, ended.stderr.decode()) == (REFUSED, said)


def test_what_an_encoding_lacks_is_written_as_an_escape():
    code = "from service.cli.streams import prepare_streams; prepare_streams(); print('\u65e5')"
    environment = clean_environment() | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=LIMIT_S, check=True
    )
    assert ended.stdout == rb"\u65e5" + b"\n"


# ---- what the server says


def test_the_log_tells_of_own_processors_of_jobs_put_back_and_of_those_that_nobody_can_run(tmp_path):
    place = Path(patient_processors.__file__)
    with run_server(tmp_path / "data", processors=place, shutdown_grace_s=0) as server:
        assert re.search(
            r"processors loaded +catalogue=\d+ own=\['patient\.child', 'patient\.loop'\]\n.*"
            rf"serving +dashboard={server.url} ", server.output,
        ), server.output  # fmt: skip
        output, _ = run("submit", "patient.loop", "-p", f"path={tmp_path / 'never'}", url=server.url)
        job_url = f"{server.url}/v1/jobs/{output.strip()}"
        require(lambda: is_not("running", job_url), time.monotonic() + LIMIT_S)
        assert server.stop() == 0
        assert re.search(r"stopping +grace_s=0.0 running=1\n(.*\n)*.*stopped +put_back=1\n$", server.output), (
            server.output
        )
        server.settings.pop("processors")
        server.start()
        warning = "queued jobs have no processor here jobs=1 processors={'patient.loop': 1}"
        require(lambda: [] if warning in server.output else [server.output], time.monotonic() + LIMIT_S)
        assert server.stop() == 0
        assert re.search(r"own=\[\]\n(.*\n)*.*stopped +put_back=0\n$", server.output), server.output


def is_not(state, job_url):
    found = httpx.get(job_url, trust_env=False, timeout=LIMIT_S).json()["state"]
    return [] if found == state else [f"it is {found}"]


# ---- no server, no command


@pytest.mark.parametrize(
    "command",
    [["jobs"], ["jobs", "wait", UNKNOWN_ID], ["processors"], ["submit", "file.checksum", str(PHOTO)]],
    ids=lambda command: " ".join(command[:2]),
)
def test_without_a_server_there_is_one_sentence_and_3(command):
    output, said = run(*command, url=NOBODY, code=UNREACHABLE)
    assert output == ""
    assert said == (
        f"Error: no server answers at {NOBODY} (Connection refused); start one with `filemill serve`, "
        "or name another with --url or FILEMILL_URL\n"
    )


def test_the_installed_command_is_the_same(tmp_path):
    command = shutil.which("filemill", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("the package is not installed beside this Python")
    ended = subprocess.run(
        [command, "--help"], env=clean_environment(), cwd=tmp_path, capture_output=True, timeout=LIMIT_S, check=True
    )
    assert ended.stdout.decode() == run("--help", cwd=tmp_path)[0]
