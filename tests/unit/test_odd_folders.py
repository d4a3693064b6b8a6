"""Data folders whose names mean something to those who read a path as a URL, an option or a format."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.errors import StartError
from service.ownership import owned

NAMES = [
    "what?x", "a%20b", "a#b", "file:x", "with space", "ä", "100%", "a;b", ":memory:", "ends in a line\n", "-x", "~x",
    "sqlite:", "%(here)s", "a\\b", "a&b=c",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FILEMILL_DATA_DIR", raising=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_database_lies_in_the_folder_whatever_that_is_called(name, tmp_path):
    for _ in range(2):  # the second time it is found again
        assert CliRunner().invoke(app, ["migrate", f"--data-dir={name}"]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in (tmp_path / name).iterdir()} == {"filemill.db", "filemill.lock"}
    with closing(sqlite3.connect(tmp_path / name / "filemill.db")) as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_is_shown_as_it_is_called(name):
    rows = json.loads(CliRunner().invoke(app, ["settings", f"--data-dir={name}", "--json"]).stdout)
    assert [row["value"] for row in rows if row["name"] == "data_dir"] == [name]


def test_a_folder_whose_name_is_no_text_is_refused_before_it_is_made(tmp_path):
    with (
        pytest.raises(StartError, match=r"bad-\\xff is not UTF-8; name another with --data-dir"),
        owned(Path("bad-\udcff")),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
