"""`filemill processors new`, `filemill run`, and what cannot run here."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.processors.registry import load_registry
from service.settings import Settings, environment_name
from tests.fakes import plain_environment

OWN = '''\
from service import Fail, JobContext, Retry, Snooze, processor


@processor("own.copy", accepts=["text/*"])
def copy(job: JobContext, times: int = 1) -> dict[str, int]:
    """Copy files."""
    for file in job.files:
        for _ in range(times):
            job.output(file.name).write_bytes(file.path.read_bytes())
    print("from the processor itself")
    job.log("copied", times=times)
    job.progress(1, "done")
    return {"files": len(job.files)}


@processor("own.end", min_files=0)
async def end(job: JobContext, how: str) -> None:
    """End."""
    match how:
        case "fail":
            raise Fail("it cannot be\\x1b[31m", code="impossible")
        case "retry":
            raise Retry("not now", delay_s=60)
        case "snooze":
            raise Snooze(60)
        case "break":
            raise LookupError("nothing there")


@processor("own.prose", min_files=0)
async def prose(job: JobContext) -> None:
    """Say much.

    A paragraph that its author broke
    into short
    lines.

    - one thing
    - another
    """


@processor("own.absent", min_files=0, extra="pdf", requires=["nothing_of_that_name"])
def absent(job: JobContext) -> None:
    """Do what is not there."""
'''


OUTSIDE = '''\
from service import JobContext, processor


@processor("own.outside", min_files=0)
def outside(job: JobContext, name: str) -> None:
    """Write an output of this name."""
    job.output(name).write_text("here")
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with `own.py`, and a plain terminal."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FILEMILL_PROCESSORS", "own.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    return tmp_path


def filemill(*arguments, **options):
    return CliRunner().invoke(app, list(arguments), prog_name="filemill", **options)


# ---- new


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("text.shout", "text_shout", "shout"),
        ("json", "json_processor", "json"),  # must not hide the module of the standard library
        ("mail.class", "mail_class", "class_"),
        ("my.file", "my_file", "file_"),
        ("lambda", "lambda_processor", "lambda_"),
    ],
)
def test_new_writes_a_processor_that_loads_and_a_test_of_it(folder, name, module, function):
    result = filemill("processors", "new", name)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"{module}.py", f"test_{module}.py"]
    assert f"FILEMILL_PROCESSORS=./{module}.py filemill serve" in result.stderr
    one = load_registry(f"{module}.py")[name]
    assert one.function.__name__ == function
    assert list(one.params_schema["properties"]) == ["case", "max_chars"]
    compile((folder / f"test_{module}.py").read_text(), "test", "exec")


@pytest.mark.parametrize(
    ("found", "command"),
    [(object(), "python -m pytest test_text_shout.py"),
     (None, "pip install pytest && python -m pytest test_text_shout.py")],
)  # fmt: skip
def test_new_says_how_to_test_it_also_where_pytest_is_not_installed(monkeypatch, found, command):
    monkeypatch.setattr("service.cli.new.find_spec", lambda _: found)
    assert f"Test it:  {command}\n" in filemill("processors", "new", "text.shout").stderr


def test_the_test_that_new_writes_passes(folder):
    assert filemill("processors", "new", "text.shout", "--folder", "mine").exit_code == 0
    (folder / "mine" / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "mine"]
    ran = subprocess.run(command, cwd=folder, env=plain_environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout


@pytest.mark.parametrize("there", ["text_shout.py", "test_text_shout.py"])
def test_new_overwrites_nothing(folder, there):
    (folder / there).write_text("mine")
    before = sorted(folder.iterdir())
    result = filemill("processors", "new", "text.shout")
    assert result.exit_code == 2
    assert f"{there} is there already" in result.stderr
    assert (folder / there).read_text() == "mine"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Shout", "take lower-case words"),
        ("../shout", "take lower-case words"),
        ("file.checksum", "there is a processor file.checksum already"),
    ],
)
def test_new_refuses_a_name_that_cannot_be(folder, name, sentence):
    before = sorted(folder.iterdir())
    result = filemill("processors", "new", name)
    assert (result.exit_code, sentence in result.stderr) == (2, True)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["pytest", "service", "httpx"])
def test_new_hides_no_package_that_is_installed(folder, name):
    result = filemill("processors", "new", name)
    assert result.stdout.splitlines() == [f"{name}_processor.py", f"test_{name}_processor.py"]
    assert f"from {name}_processor import " in (folder / f"test_{name}_processor.py").read_text()


# ---- run


@pytest.mark.parametrize(("name", "saved"), [("..", "output"), ("o/p", "p"), ("../../x.txt", "x.txt")])
def test_run_writes_no_output_outside_its_folder(folder, name, saved):
    (folder / "outside.py").write_text(OUTSIDE)
    (folder / "a").mkdir()
    before = set(folder.rglob("*"))
    result = filemill(
        *("run", "own.outside", "-p", f"name={name}", "--out", "a/b", "--overwrite", "--processors", "outside.py")
    )
    assert result.exit_code == 0, result.output
    made = {path for path in set(folder.rglob("*")) - before if "__pycache__" not in path.parts}
    assert made == {folder / "a" / "b", folder / "a" / "b" / saved}


def test_run_prints_the_result_and_writes_the_outputs(folder):
    result = filemill("run", "own.copy", "a.txt", "b.txt", "-p", "times=2", "--out", "out")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"files": 2}
    written = {path.name: path.read_text() for path in (folder / "out").iterdir()}
    assert written == {"a.txt": "one", "a-2.txt": "one", "b.txt": "two", "b-2.txt": "two"}
    assert result.stderr.splitlines() == [
        "from the processor itself",
        "copied  times=2",
        *(f"Saved out/{name}" for name in ("a.txt", "a-2.txt", "b.txt", "b-2.txt")),
    ]


def test_run_prints_json_for_programs():
    result = filemill("run", "own.copy", "a.txt", "--out", "out", "--json")
    assert json.loads(result.stdout) == {
        "result": {"files": 1},
        "outputs": ["out/a.txt"],
        "logs": [{"message": "copied", "fields": {"times": 1}}],
    }


def test_run_leaves_what_is_there_and_writes_the_rest(folder):
    (folder / "out").mkdir()
    (folder / "out" / "a.txt").write_text("mine")
    result = filemill("run", "own.copy", "a.txt", "b.txt", "--out", "out")
    assert result.exit_code == 1
    assert "out/a.txt is there already; --overwrite replaces it" in result.stderr
    assert {path.name: path.read_text() for path in (folder / "out").iterdir()} == {"a.txt": "mine", "b.txt": "two"}
    assert filemill("run", "own.copy", "a.txt", "--out", "out", "--overwrite").exit_code == 0
    assert (folder / "out" / "a.txt").read_text() == "one"


def test_run_finds_processors_that_a_flag_names(monkeypatch):
    monkeypatch.delenv("FILEMILL_PROCESSORS")
    assert filemill("run", "own.copy", "a.txt", "--out", "out").exit_code == 1
    assert filemill("run", "own.copy", "a.txt", "--out", "out", "--processors", "./own.py").exit_code == 0


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("fail", "Error: impossible: it cannot be\\x1b[31m"),
        ("retry", "Error: failed: not now; a server would try again after 60 s"),
        ("snooze", "Error: snoozed: a server would run it again after 60 s"),
        ("break", "Error: failed: LookupError: nothing there"),
    ],
)
def test_run_tells_how_an_attempt_ended(how, sentence):
    result = filemill("run", "own.end", "-p", f"how={how}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == sentence
    assert ("own.py" in result.stderr) == (how == "break")  # only a bug has a traceback


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["own.copy", "a.txt", "-p", "times=many"], 1, "  params.times: Input should be a valid integer"),
        (["own.copy"], 1, "own.copy takes at least 1 file, not 0"),
        (["own.copy", "nowhere.txt"], 2, "'nowhere.txt' does not exist"),
        (["own.kopy", "a.txt"], 1, "did you mean own.copy"),
        (["own.absent"], 1, 'install it with: pip install "filemill[pdf]"'),
        (["own.copy", "a.txt", "--processors", "nowhere.py"], 1, "nowhere.py: FileNotFoundError: there is no file"),
    ],
)
def test_run_refuses_what_a_server_would(folder, arguments, code, sentence):
    result = filemill("run", *arguments)
    assert (result.exit_code, sentence in result.stderr) == (code, True), result.stderr
    assert {path.name for path in folder.iterdir()} <= {"own.py", "a.txt", "b.txt", "__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["own.copy", "a.txt", "-p", "tims=2"], "there is no such param; there is only times"),
        (["image.thumbnail", "a.txt", "-p", "tims=2"], "there is no such param; there are width, height, sizes, fit, "),
        (["own.absent", "-p", "tims=2"], "there is no such param; it takes none"),
    ],
)
def test_a_param_that_there_is_not_is_refused_with_those_that_there_are(monkeypatch, arguments, sentence):
    monkeypatch.setattr("service.processors.base.Processor.missing", [])
    said = filemill("run", *arguments).stderr.splitlines()
    assert said[0] == f"Error: {arguments[0]} cannot take these params:"
    assert said[1].startswith(f"  params.tims: {sentence}")


def test_run_moves_a_bar_where_somebody_watches():
    watcher, terminal = pty.openpty()
    command = [sys.executable, "-m", "service", "run", "own.copy", "a.txt", "--out", "out"]
    with subprocess.Popen(
        command, env=os.environ | {"TERM": "xterm"}, stdout=subprocess.PIPE, stderr=terminal, text=True
    ) as process:
        os.close(terminal)
        shown = b"".join(_pieces(watcher)).decode()
        assert json.loads(process.communicate()[0]) == {"files": 1}
    assert process.returncode == 0
    assert "own.copy: done" in shown
    assert "100%" in shown


def _pieces(watcher):
    """Yield what a terminal shows, until nobody writes to it any more."""
    with contextlib.suppress(OSError):  # so Linux tells the end
        while piece := os.read(watcher, 4096):
            yield piece
    os.close(watcher)


@pytest.mark.parametrize("command", [["run", "-h"], ["processors", "new", "-h"]], ids=" ".join)
def test_help_fits_on_a_small_terminal(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = filemill(*command)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_paragraph_is_broken_for_this_terminal_alone_and_a_list_stays_one():
    shown = filemill("processors", "show", "own.prose", "--local").stdout
    assert "\nA paragraph that its author broke into short lines.\n\n- one thing\n- another\n" in shown


# ---- what cannot run here


def test_the_list_marks_what_is_not_available_with_the_command_that_installs_it():
    assert 'Not available: pip install "filemill[pdf]"' in filemill("processors", "--local").stdout
    shown = filemill("processors", "show", "own.absent", "--local").stdout
    assert re.search(r'^Available +no: pip install "filemill\[pdf\]"$', shown, re.MULTILINE)
    assert "Available" not in filemill("processors", "show", "own.copy", "--local").stdout
