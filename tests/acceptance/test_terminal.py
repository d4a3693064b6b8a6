"""The live views on a real terminal: what a person sees, types and interrupts."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.acceptance import telling_processors
from tests.acceptance.server import REPOSITORY, clean_environment, run_server

PHOTO = REPOSITORY / "tests" / "samples" / "rocket.jpg"
LIMIT_S = 60
OK, REFUSED, USAGE, UNREACHABLE, TIMED_OUT = range(5)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = Path(telling_processors.__file__)
    with run_server(tmp_path_factory.mktemp("terminal") / "data", processors=place, job_max_attempts=1) as server:
        yield server


class Terminal:
    """`filemill` on a terminal of 80 columns; standard output too, unless it goes to a pipe."""

    def __init__(self, *arguments, url, pipe=False):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._raw = bytearray()
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", *map(str, arguments)],
            env=clean_environment(url=url) | {"TERM": "xterm-256color"},
            stdin=theirs, stdout=subprocess.PIPE if pipe else theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with contextlib.suppress(OSError):  # so Linux says that nobody has the terminal open any more
            while piece := os.read(self._ours, 65536):
                with self._news:
                    self._raw.extend(piece)
                    self._news.notify_all()

    @property
    def shown(self):
        """All that was ever shown, without colours and movements."""
        return ESCAPES.sub("", self._raw.decode("utf-8", "replace"))

    def wait_for(self, words):
        with self._news:
            assert self._news.wait_for(lambda: words in self.shown, LIMIT_S), f"never shown: {words!r} in {self.shown}"

    def press(self, keys):
        os.write(self._ours, keys.encode())

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Return the exit code, and what went to the pipe."""
        data, _ = self.process.communicate(timeout=LIMIT_S)
        self._reader.join(LIMIT_S)
        os.close(self._ours)
        return self.process.returncode, (data or b"").decode()


def run(*arguments, url):
    """Run `filemill` where nobody watches; return exit code, output and messages."""
    command = [sys.executable, "-m", "service", *map(str, arguments)]
    ended = subprocess.run(
        command, env=clean_environment(url=url), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert "\x1b" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


def submit(server, processor, **params):
    answer = httpx.post(f"{server.url}/v1/jobs", json={"processor": processor, "params": params}, trust_env=False)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def state_of(server, job_id, *, wait_s=0):
    headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
    answer = httpx.get(f"{server.url}/v1/jobs/{job_id}", headers=headers, trust_env=False, timeout=LIMIT_S)
    return answer.json()["state"]


# ---- submit --watch


def test_submit_shows_how_the_job_is_getting_on_and_prints_its_id(server, tmp_path):
    gate = tmp_path / "gate"
    terminal = Terminal("submit", "telling.wait", "-p", f"path={gate}", "--watch", url=server.url, pipe=True)
    terminal.wait_for("halfway")
    gate.touch()
    code, data = terminal.end()
    assert code == OK
    assert state_of(server, data.strip()) == "succeeded"
    assert re.search(r"telling\.wait +running +\d+ s +━+ +50%  halfway", terminal.shown)
    assert re.search(r"telling\.wait +succeeded +\S+ \S+", terminal.shown)


def test_each_file_has_its_line_and_one_that_fails_ends_with_1(server, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(PHOTO.read_bytes()[:3000])
    terminal = Terminal("submit", "image.thumbnail", PHOTO, broken, "--each", "--watch", url=server.url, pipe=True)
    code, data = terminal.end()
    assert (code, len(data.split())) == (REFUSED, 2)
    assert re.search(r"rocket\.jpg +succeeded", terminal.shown)
    assert re.search(r"broken\.jpg +failed +\S+ \S+ +\w+: ", terminal.shown)


@pytest.mark.parametrize(("key", "code", "state"), [("n", TIMED_OUT, "running"), ("y", REFUSED, "cancelled")])
def test_an_interrupt_asks_whether_the_job_is_to_go_on(server, tmp_path, key, code, state):
    gate = tmp_path / "gate"
    terminal = Terminal("submit", "telling.wait", "-p", f"path={gate}", "--watch", url=server.url, pipe=True)
    terminal.wait_for("halfway")
    terminal.interrupt()
    terminal.wait_for("This job has not finished. Cancel? [y/N]:")
    terminal.press(key + "\n")
    ended, data = terminal.end()
    assert (ended, state_of(server, data.strip())) == (code, state)
    gate.touch()
    assert state_of(server, data.strip(), wait_s=20) == ("succeeded" if key == "n" else "cancelled")


def test_where_nobody_watches_there_is_a_line_for_each_event(server):
    code, output, said = run("submit", "telling.hostile", "--watch", url=server.url)
    assert code == REFUSED
    assert [line.split()[2] for line in said.splitlines()] == ["queued", "running", "30%", "failed"]
    assert max(map(len, said.splitlines())) < 400
    assert said.replace("\n", "").isprintable()
    assert all(output.strip() in line for line in said.splitlines())


# ---- jobs watch, logs


def test_jobs_are_watched_to_their_ends(server, tmp_path):
    gate = tmp_path / "gate"
    ids = [submit(server, "telling.wait", path=str(gate)) for _ in range(2)]
    terminal = Terminal("jobs", "watch", *ids, url=server.url)
    terminal.wait_for("0 of 2 finished")
    gate.touch()
    assert terminal.end()[0] == OK
    code, output, _ = run("jobs", "watch", *ids, "--json", url=server.url)
    events = [json.loads(line) for line in output.splitlines()]
    assert code == OK
    assert sorted(one["state"] for one in events if one["event"] == "state") == sorted(
        ["queued", "running", "succeeded"] * 2
    )


def test_all_jobs_are_watched_until_an_interrupt(server):
    terminal = Terminal("jobs", "watch", url=server.url)
    deadline = time.monotonic() + LIMIT_S
    while "succeeded  telling.much" not in terminal.shown and time.monotonic() < deadline:
        state_of(server, submit(server, "telling.much", lines=1), wait_s=5)
    terminal.wait_for("succeeded  telling.much")
    terminal.interrupt()
    assert terminal.end()[0] == OK
    assert "Traceback" not in terminal.shown


def test_the_log_of_a_job_is_harmless_cut_and_whole_as_json(server):
    job_id = submit(server, "telling.hostile")
    state_of(server, job_id, wait_s=20)
    terminal = Terminal("logs", job_id, url=server.url)
    assert terminal.end()[0] == OK
    assert "\\x1b[2J\\x1b[31m<b>[red]\\x07\\r\\u202e" in terminal.shown
    assert b"\x1b[2J" not in terminal._raw
    assert "characters; --json prints all" in terminal.shown
    code, output, _ = run("logs", job_id, "--json", url=server.url)
    messages = [json.loads(line)["message"] for line in output.splitlines()]
    assert (code, len(messages)) == (OK, 2)
    assert messages[0] in messages[1]


def test_a_log_is_followed_to_the_end_of_the_job_and_without_it_to_the_present(server, tmp_path):
    gate = tmp_path / "gate"
    job_id = submit(server, "telling.wait", path=str(gate))
    terminal = Terminal("logs", job_id, "-f", url=server.url)
    terminal.wait_for("attempt 1 begins")
    code, output, _ = run("logs", job_id, url=server.url)
    assert (code, [line.split("  ", 1)[1] for line in output.splitlines()]) == (OK, ["attempt 1 begins"])
    gate.touch()
    assert terminal.end()[0] == OK
    assert "the file is there" in terminal.shown


# ---- top


@pytest.mark.parametrize("way", ["q", "interrupt"])
def test_top_shows_what_runs_until_somebody_leaves(server, tmp_path, way):
    gate = tmp_path / "gate"
    job_id = submit(server, "telling.wait", path=str(gate))
    terminal = Terminal("top", url=server.url)
    terminal.wait_for(job_id)
    terminal.wait_for("50% halfway")
    gate.touch()
    terminal.wait_for("Ended")
    terminal.press("q") if way == "q" else terminal.interrupt()
    assert terminal.end()[0] == OK
    assert "Traceback" not in terminal.shown
    assert b"\x1b[?1049l" in terminal._raw, "the screen before it is there again"


def test_top_prints_one_picture_for_scripts(server):
    code, output, _ = run("top", url=server.url)
    assert code == OK
    assert max(map(len, output.splitlines())) <= 80
    assert re.search(r"\d+ queued  \d+ running", output)
    code, output, _ = run("top", "--once", "--json", url=server.url)
    assert (code, json.loads(output).keys()) == (OK, {"stats", "running"})


@pytest.mark.parametrize("command", [["top"], ["logs", "x"], ["jobs", "watch"], ["jobs", "watch", "x"]], ids=" ".join)
def test_without_a_server_there_is_one_sentence_and_3(command):
    code, output, said = run(*command, url="http://127.0.0.1:1")
    assert (code, output, said.count("\n")) == (UNREACHABLE, "", 1)
    assert said.startswith("Error: no server answers at")


@pytest.mark.parametrize("command", [["logs"], ["jobs", "watch"]], ids=" ".join)
def test_a_job_that_is_not_there_is_told_in_a_sentence(server, command):
    code, _, said = run(*command, "01900000-0000-7000-8000-000000000000", url=server.url)
    assert (code, said) == (REFUSED, "Error: there is no job 01900000-0000-7000-8000-000000000000\n")


def test_top_ends_when_its_terminal_is_gone(server):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service", "top"]
    environment = clean_environment(url=server.url) | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    try:
        assert process.wait(LIMIT_S) is not None
    finally:
        process.kill()
