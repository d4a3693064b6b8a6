"""One server to a data folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import DataDirLockedError, StartError
from service.ownership import owned

OWNER = """
import signal, sys
from pathlib import Path
from service.ownership import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    signal.pause()
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that owns the folder."""
    command = [sys.executable, "-c", OWNER, str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


def test_a_second_owner_is_refused_with_a_sentence_that_names_the_first(owner, tmp_path):
    with pytest.raises(DataDirLockedError) as refusal, owned(tmp_path / "data"):
        pass
    assert f"process id {owner.pid};" in refusal.value.detail
    assert str(tmp_path / "data") in refusal.value.detail
    assert "--data-dir" in refusal.value.detail


def test_a_refusal_changes_nothing_for_the_owner(owner, tmp_path):
    for _ in range(3):
        with pytest.raises(DataDirLockedError, match=str(owner.pid)), owned(tmp_path / "data"):
            pass
    assert owner.poll() is None


def test_an_owner_that_is_killed_lets_go(owner, tmp_path):
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with owned(tmp_path / "data"):
        pass


def test_the_folder_is_made_and_can_be_owned_again_and_again(tmp_path):
    folder = tmp_path / "deep" / "data"
    for _ in range(2):
        with owned(folder):
            assert str(os.getpid()) in (folder / "filemill.lock").read_text()
    assert folder.is_dir()


def test_a_folder_that_is_made_is_durable_in_each_one_above(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def spy(fd):
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", spy)
    with owned(tmp_path / "deep" / "data"):
        pass
    assert sorted(synced) == [tmp_path, tmp_path / "deep"]


def test_within_one_process_too_there_is_one_owner(tmp_path):
    with owned(tmp_path), pytest.raises(DataDirLockedError, match=str(os.getpid())), owned(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid"', "\0"])
def test_an_owner_that_has_not_said_who_it_is_is_unknown(tmp_path, text):
    with owned(tmp_path):
        (tmp_path / "filemill.lock").write_text(text)
        with pytest.raises(DataDirLockedError, match="process id unknown"), owned(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_a_reason_not_to_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot be used"), owned(tmp_path / "file"):
        pass
