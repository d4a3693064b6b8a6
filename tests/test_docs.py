"""The README is true: its commands give what it shows, and its tables are what the code says."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.docs_tables import README, with_tables

TEXT = README.read_text(encoding="utf-8")
ROOT = README.parent
ADDRESS = "127.0.0.1:8000"
BLOCK = re.compile(r"^```(?P<kind>\w+)(?: title=(?P<title>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SERVE = re.compile(r"(?:FILEMILL_PROCESSORS=(?P<processors>\S+) )?filemill serve")
END = "--- end of the output ---"


@dataclass(frozen=True)
class Step:
    """A command of the README, and what it should print; `…` stands for anything."""

    command: str
    expected: str


def steps(text: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield Step(command, expected)


class Terminal:
    """A shell that keeps its variables from step to step."""

    def __init__(self, folder: Path, url: str) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._shell = subprocess.Popen(
            ["bash"], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, "FILEMILL_URL": url, "COLUMNS": "80"},
        )  # fmt: skip

    def run(self, command: str) -> str:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\necho; echo '{END}'\n")
        self._shell.stdin.flush()
        lines = iter(self._shell.stdout.readline, f"{END}\n")
        return "".join(lines).removesuffix("\n")

    def close(self) -> None:
        with self._shell:
            self._shell.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "samples").symlink_to(ROOT / "tests" / "samples")
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(folder / "filemill-data", arguments=["--port", str(port)])
    server.start()
    yield server
    server.kill()


@pytest.fixture
def terminal(folder: Path, server: Server) -> Iterator[Terminal]:
    terminal = Terminal(folder, server.url)
    yield terminal
    terminal.close()


def test_the_tour_gives_what_the_readme_shows(terminal, server, folder, subtests):
    for block in BLOCK.finditer(TEXT):
        if block["title"]:
            (folder / block["title"]).write_text(block["text"], encoding="utf-8")
        elif block["kind"] == "console":
            for step in steps(block["text"]):
                with subtests.test(step.command):
                    take(step, terminal, server, folder)


def take(step: Step, terminal: Terminal, server: Server, folder: Path) -> None:
    if serve := SERVE.fullmatch(step.command):
        server.stop()
        server.settings["processors"] = folder / serve["processors"]
        server.start()
        return
    printed = terminal.run(step.command.replace(f"http://{ADDRESS}", server.url))
    assert re.fullmatch(pattern(step.expected), plain(printed), re.DOTALL), f"it printed:\n{printed}"


def pattern(expected: str) -> str:
    return r"\s*" + ".*".join(re.escape(plain(piece)) for piece in expected.split("…")) + r"\s*"


def plain(text: str) -> str:
    """Without the spaces at the ends of lines and of the text, and with every other run of spaces as one."""
    return re.sub(r"[ \t]+", " ", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)).strip("\n")


def test_the_tables_are_made_from_the_code():
    assert with_tables(TEXT) == TEXT, "run python -m tests.docs_tables"


def test_the_two_commands_are_one_line_each_and_begin_with_a_fresh_environment():
    commands = [block["text"].splitlines() for block in BLOCK.finditer(TEXT) if block["kind"] == "sh"]
    assert [len(lines) for lines in commands] == [1, 1]
    serve, test = (lines[0].split(" && ") for lines in commands)
    assert serve[0] == test[0] == "python3 -m venv .venv"
    assert (serve[-1], test[-1]) == (".venv/bin/filemill serve", ".venv/bin/pytest")


def test_every_file_that_the_readme_names_is_there(subtests):
    flow = TEXT.partition("An upload passes these files")[2].partition("The row is the truth")[0]
    for name in re.findall(r"^ {4}(\S+/\S*)", flow, re.MULTILINE):
        with subtests.test(name):
            assert (ROOT / "service" / name).exists()


def test_the_processor_of_the_readme_has_ten_lines():
    source = next(block["text"] for block in BLOCK.finditer(TEXT) if block["title"] == "words.py")
    assert sum(1 for line in source.splitlines() if line.strip()) <= 10
