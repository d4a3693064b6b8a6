"""A data folder whose folders cannot work together: refused at the start, or told by a trial while the server runs."""

import asyncio
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.boot_folder import BootFolder
from service.errors import DatabaseUnavailableError, StartError, StorageFailedError
from service.runtime import open_runtime
from service.settings import Settings
from service.storage.local import LocalStorage
from service.storage.trial import PROBE, Trial
from service.store.ids import new_id
from service.store.presence import Presence
from tests.contracts.storage import keep, keys_of

FOLDERS = ["files", "incoming", "work"]
PLACES = ("/dev/shm", "/run", "/var/tmp", "/tmp")  # noqa: S108 - one of them is on another file system


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder on another file system, or, where this machine has only one, one that no file can be moved into."""
    for place in map(Path, PLACES):
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=place) as name:
                yield Path(name)
            return
    folder, replace = tmp_path / "elsewhere", Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if {folder in path.resolve().parents, folder in target.resolve().parents} == {True, False}:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    folder.mkdir()
    yield folder


async def start(settings: Settings) -> None:
    async with open_runtime(settings):
        pass


@pytest.fixture
def data_dir(settings: Settings) -> Path:
    settings.data_dir.mkdir()
    return settings.data_dir


# ---- at the start


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_folder_on_another_file_system_is_refused_with_both_and_what_to_do(name, settings, data_dir, elsewhere):
    await start(settings)
    shutil.rmtree(data_dir / name)
    (data_dir / name).symlink_to(elsewhere)
    with pytest.raises(StartError, match=r"lie on different file systems, .*keep the whole data folder") as caught:
        await start(settings)
    other = "incoming" if name == "files" else "files"
    assert f"{data_dir / name}" in caught.value.detail
    assert f"{data_dir / other}" in caught.value.detail
    assert list(elsewhere.rglob(PROBE)) == []


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_file_in_the_place_of_a_folder_is_refused_and_named(name, settings, data_dir):
    await start(settings)
    shutil.rmtree(data_dir / name)
    (data_dir / name).touch()
    with pytest.raises(StartError, match=rf"{data_dir / name} .*it is no folder; move it away"):
        await start(settings)


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_link_that_leads_nowhere_is_refused_with_where_it_leads(name, settings, data_dir):
    await start(settings)
    shutil.rmtree(data_dir / name)
    (data_dir / name).symlink_to(data_dir / "nowhere")
    with pytest.raises(StartError, match=rf"{data_dir / name} .*a link to {data_dir / 'nowhere'}, which is not there"):
        await start(settings)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
@pytest.mark.parametrize("name", ["incoming", "work"])
async def test_a_folder_that_cannot_be_written_is_refused_and_named(name, number, settings, monkeypatch):
    def refuse(path, *args, open_file=Path.open, **options):
        if path.name == PROBE and name in path.parts:
            raise OSError(number, os.strerror(number), str(path))
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StartError, match=rf"{name}/\w+ cannot be written: {os.strerror(number)}"):
        await start(settings)


@pytest.fixture
def locked(monkeypatch):
    """Return what has pathlib look in vain at what lies in a folder, as for whom its mode keeps out."""

    def lock(folder: Path) -> None:
        def refuse(path, *, look=Path.stat, **options):
            if folder in path.parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return look(path, **options)

        monkeypatch.setattr(Path, "stat", refuse)

    return lock


@pytest.mark.parametrize("name", ["incoming", "work"])
async def test_a_folder_into_which_nobody_may_look_is_refused_and_named(name, settings, data_dir, locked, monkeypatch):
    await start(settings)
    locked(data_dir / name)
    make = Path.mkdir

    def refuse(path, *args, **options):
        if path.parent == data_dir / name:
            _ = path.stat()
        make(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StartError, match=rf"{data_dir / name}/\w+ .*cannot be used: Permission denied"):
        await start(settings)


async def test_a_folder_of_files_that_cannot_be_read_is_refused_and_named(settings, data_dir, monkeypatch):
    await start(settings)

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StartError, match=rf"{data_dir / 'files'} cannot be read: Permission denied"):
        await start(settings)


async def test_a_database_that_can_only_be_read_is_refused(settings, data_dir, monkeypatch):
    await start(settings)
    (data_dir / "filemill.db").chmod(0o400)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(Path(path).stat().st_mode & 0o200) or not mode & os.W_OK)
    with pytest.raises(StartError, match=r"filemill\.db cannot be written by this user"):
        await start(settings)


async def test_a_disk_that_is_full_is_no_reason_not_to_start(settings, monkeypatch):
    refused = []

    def refuse(*args, **_options):
        refused.append(args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("service.storage.trial.publish", refuse)
    await start(settings)
    assert refused


async def test_a_folder_that_is_linked_to_this_file_system_is_as_good_as_one_that_is_here(settings, data_dir, tmp_path):
    for name in FOLDERS:
        (tmp_path / f"other-{name}").mkdir()
        (data_dir / name).symlink_to(tmp_path / f"other-{name}")
    (data_dir / "files").unlink()  # where there is one, there has been a database
    await start(settings)
    assert [(data_dir / name).is_symlink() for name in FOLDERS] == [False, True, True]


# ---- while it runs


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    work = BootFolder(tmp_path / "work", "boot-1")
    return LocalStorage(tmp_path, "boot-1", work=work.path)


async def test_a_trial_leaves_nothing_and_is_never_taken_for_a_stored_file(storage, tmp_path):
    await storage.check()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (tmp_path / "files" / PROBE).touch()  # as a server that was killed leaves it
    assert await keys_of(storage) == []
    await storage.check()
    assert list(tmp_path.rglob(PROBE)) == []


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_folder_that_is_deleted_is_told_by_its_name_by_the_trial_and_by_what_needs_it(name, storage, tmp_path):
    made = tmp_path / "work" / "boot-1" / "made"
    made.write_bytes(b"made")
    (tmp_path / name).rename(tmp_path / "away")
    words = f"the folder {name} was deleted or replaced"
    with pytest.raises(StorageFailedError, match=words):
        await storage.check()
    with pytest.raises(StorageFailedError, match=words):
        await (storage.adopt(new_id(), made) if name == "work" else keep(storage, new_id(), b"x"))
    (tmp_path / "away").rename(tmp_path / name)
    await storage.check()


@pytest.mark.parametrize("name", FOLDERS)
async def test_a_folder_into_which_nobody_may_look_any_more_is_told(name, storage, tmp_path, locked):
    (tmp_path / name).rename(tmp_path / "away")
    locked(tmp_path / name)
    with pytest.raises(StorageFailedError):
        await storage.check()


def test_a_database_into_whose_folder_nobody_may_look_any_more_is_told(tmp_path, locked):
    locked(tmp_path)
    with pytest.raises(DatabaseUnavailableError, match=r"filemill\.db cannot be reached: Permission denied"):
        Presence(tmp_path / "filemill.db").require()


async def test_an_exchanged_folder_of_files_takes_no_upload(storage, tmp_path):
    (tmp_path / "files").rename(tmp_path / "away")
    (tmp_path / "files").mkdir()
    for refused in (storage.check(), keep(storage, new_id(), b"x")):
        with pytest.raises(StorageFailedError, match="the folder files was replaced while the server ran"):
            await refused
    assert list((tmp_path / "files").iterdir()) == []


@pytest.mark.parametrize("name", ["incoming", "work"])
async def test_a_folder_that_goes_to_another_file_system_is_told(name, storage, tmp_path, elsewhere):
    shutil.rmtree(tmp_path / name)
    (elsewhere / "boot-1").mkdir()
    (tmp_path / name).symlink_to(elsewhere)
    with pytest.raises(StorageFailedError, match=f"the folders {name} and files lie on different file systems"):
        await storage.check()


async def test_those_who_ask_while_a_trial_hangs_share_it(storage, monkeypatch):
    go_on, begun = threading.Event(), []

    def hang(_trial, _require_room, *, durable):
        begun.append(durable)
        assert go_on.wait(60)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Trial, "take", hang)
    asking = [asyncio.create_task(storage.check()) for _ in range(3)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(storage.check(), 0)
    go_on.set()
    assert [type(one) for one in await asyncio.gather(*asking, return_exceptions=True)] == [StorageFailedError] * 3
    assert begun == [True]
