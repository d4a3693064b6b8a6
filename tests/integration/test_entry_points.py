"""Somebody's own processor, in a folder of its own: named by a setting, or announced by an installed package."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.acceptance.server import clean_environment, run_server

WORDS = '''\
from typing import Literal

from service import JobContext, processor


@processor("text.count", accepts=["text/*"])
def count(job: JobContext, unit: Literal["words", "lines"] = "words") -> dict[str, int]:
    """Count the words or lines of each input file.

    Args:
        unit: what to count
    """
    counts = {}
    for number, file in enumerate(job.files, start=1):
        text = file.path.read_text()
        counts[file.name] = len(text.split() if unit == "words" else text.splitlines())
        job.progress(number / len(job.files), f"counted {file.name}")
    return counts
'''


@pytest.fixture
def words(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    path = folder / "words.py"
    path.write_text(WORDS)
    return path


@pytest.fixture
def install(tmp_path, words, monkeypatch):
    """Return a function that installs a package with entry points, as pip would, where Python finds it."""

    def install(**points):
        site = tmp_path / "site"
        info = site / "wordcount-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "wordcount.py").write_text(words.read_text())
        info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: wordcount\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        info.joinpath("entry_points.txt").write_text("\n".join(["[filemill.processors]", *lines, ""]))
        monkeypatch.setenv("PYTHONPATH", str(site))
        return site

    return install


@pytest.fixture(params=["setting", "module", "object"])
def settings(request, words, install):
    """The settings under which the server has the processor; it is told, or finds out."""
    if request.param == "setting":
        return {"processors": words}
    install(words="wordcount" if request.param == "module" else "wordcount:count")
    return {}


def test_it_has_schema_validation_progress_and_result(tmp_path, settings):
    with run_server(tmp_path / "data", child_processes=1, min_free_bytes=0, **settings) as server:
        described = httpx.get(f"{server.url}/v1/processors/text.count").json()
        assert described["summary"] == "Count the words or lines of each input file."
        assert described["params_schema"]["properties"]["unit"] == {
            "default": "words",
            "description": "what to count",
            "enum": ["words", "lines"],
            "title": "Unit",
            "type": "string",
        }
        assert (described["accepts"], described["runs_in"], described["available"]) == (["text/*"], "child", True)

        refused = submit(server, {"unit": "pages"}, b"one two\n")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_params")
        assert [one["field"] for one in refused.json()["errors"]] == ["params.unit"]
        refused = submit(server, {}, b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
        assert (refused.status_code, refused.json()["code"]) == (422, "media_type_not_accepted")

        job = submit(server, {"unit": "lines"}, b"one two\n", b"three\nfour\n").json()
        assert job["result"] == {"0.txt": 1, "1.txt": 2}
        assert (job["state"], job["params"]) == ("succeeded", {"unit": "lines"})
        assert job["progress"] == {"fraction": 1.0, "message": "counted 1.txt"}


def submit(server, params, *contents):
    """Submit a job, and return the answer when it has ended."""
    fields = [("processor", (None, b"text.count")), ("params", (None, json.dumps(params).encode()))]
    files: list[Any] = [("file", (f"{number}.txt", content)) for number, content in enumerate(contents)]
    return httpx.post(f"{server.url}/v1/jobs", files=[*fields, *files], headers={"Prefer": "wait=30"}, timeout=40)


# ---- what stops the start


def start(tmp_path, **settings):
    """Start a server that cannot start; return what it says."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    environment = clean_environment(**settings) | {"COLUMNS": "400"}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)  # noqa: PLW1510
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr.strip().splitlines()[-1]


def test_a_package_that_cannot_be_imported_stops_the_start(tmp_path, words, install):
    words.write_text("import json\n\nimport nothing_of_that_name\n")
    site = install(words="wordcount")
    assert start(tmp_path) == (
        "Error: entry point words = wordcount of wordcount: ModuleNotFoundError: "
        f"No module named 'nothing_of_that_name' ({site}/wordcount.py:3)"
    )


def test_an_entry_point_to_something_else_stops_the_start(tmp_path, install):
    install(words="wordcount:Literal")
    assert "entry point words = wordcount:Literal of wordcount is " in start(tmp_path)


def test_a_name_taken_twice_stops_the_start(tmp_path, words, install):
    site = install(words="wordcount")
    assert start(tmp_path, processors=words) == (
        "Error: two processors are called 'text.count'; give one another name: "
        f"the first is at {words}:6, the second at {site}/wordcount.py:6"
    )


def test_a_signature_that_cannot_be_a_schema_stops_the_start(tmp_path, words):
    words.write_text(WORDS.replace('Literal["words", "lines"] = "words"', "type(processor)"))
    sentence = start(tmp_path, processors="./own/words.py")
    assert sentence.startswith("Error: ./own/words.py: TypeError: text.count: the type of 'unit' cannot be a param: ")
    assert sentence.endswith(f"({words}:6)")
