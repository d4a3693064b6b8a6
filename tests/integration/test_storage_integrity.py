"""Local storage: what it lends, and what it does about bytes that are not those that were kept."""

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.errors import FileChangedError, StorageFullError
from service.storage import integrity
from service.storage.local import LocalStorage
from service.store.records import NewFile
from tests.contracts.storage import MIB, content, keep_recorded


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    (tmp_path / "root").mkdir()
    return LocalStorage(tmp_path / "root", "boot-1")


def refuse(number: int) -> Callable[..., Any]:
    """Return a system call that the disk refuses."""

    def call(*_args: Any, **_options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture
async def recorded(storage: LocalStorage) -> NewFile:
    return await keep_recorded(storage, b"whole")


def lend(storage: LocalStorage, recorded: NewFile, path: Path, *, reads_only: bool = False) -> os.stat_result:
    storage.lend(recorded, path, reads_only=reads_only, go_on=lambda: None)
    return path.stat()


async def test_who_reads_only_gets_another_name_and_all_others_a_copy_that_they_may_write(storage, recorded, tmp_path):
    stored = storage.path_of(recorded.id).stat()
    copy = lend(storage, recorded, tmp_path / "copy")
    assert (copy.st_ino != stored.st_ino, copy.st_mode & 0o777) == (True, 0o600)
    name = lend(storage, recorded, tmp_path / "name", reads_only=True)
    assert (name.st_ino == stored.st_ino, name.st_mode & 0o777) == (True, 0o400)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
async def test_where_there_cannot_be_another_name_there_is_a_copy(storage, recorded, tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "link", refuse(number))
    assert lend(storage, recorded, tmp_path / "view", reads_only=True).st_nlink == 1
    assert (tmp_path / "view").read_bytes() == b"whole"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOTSUP, errno.ENOSYS])
async def test_where_the_system_cannot_copy_by_itself_the_bytes_are_copied(storage, tmp_path, monkeypatch, number):
    large = await keep_recorded(storage, content(3 * MIB + 17))
    monkeypatch.setattr("fcntl.ioctl", refuse(number))
    monkeypatch.setattr(os, "copy_file_range", refuse(number))
    lend(storage, large, tmp_path / "view")
    assert (tmp_path / "view").read_bytes() == content(3 * MIB + 17)


async def test_a_disk_that_fails_while_it_copies_says_so(storage, recorded, tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.ioctl", refuse(errno.ENOTTY))
    monkeypatch.setattr(os, "copy_file_range", refuse(errno.ENOSPC))
    with pytest.raises(StorageFullError):
        lend(storage, recorded, tmp_path / "view")


async def test_a_sound_file_is_hashed_once_and_again_when_anything_about_it_changes(storage, recorded, monkeypatch):
    hashed, digest = [], hashlib.file_digest

    def counted(*args: Any) -> Any:
        hashed.append(1)
        return digest(*args)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr(integrity, "_SETTLED_NS", -(10**18))
    path, counts = storage.path_of(recorded.id), []
    for touch in (lambda: None, lambda: None, lambda: os.utime(path, (2**32, 2**32)), lambda: None):
        touch()
        async with storage.open_part(recorded.id, 0, None, recorded) as pieces:
            assert [piece async for piece in pieces] == [b"whole"]
        counts.append(len(hashed))
    assert counts == [1, 1, 2, 2]


async def test_a_file_that_was_hashed_a_moment_after_it_changed_is_not_believed_ever_after(storage, recorded):
    async with storage.open_part(recorded.id, 0, None, recorded):
        pass
    assert storage._integrity._sound == {}


async def test_no_more_files_are_remembered_than_there_is_room_for(storage, monkeypatch):
    monkeypatch.setattr(integrity, "_SETTLED_NS", -(10**18))
    monkeypatch.setattr(integrity, "_REMEMBERED", 2)
    files = [await keep_recorded(storage, bytes([number])) for number in range(3)]
    for file in files:
        async with storage.open_part(file.id, 0, None, file):
            pass
    assert list(storage._integrity._sound) == [file.id for file in files[1:]]


@pytest.mark.parametrize("size", [3 * MIB, 3 * MIB + 17])
async def test_a_large_file_is_sent_without_its_last_piece_when_its_hash_is_wrong(storage, size):
    good = await keep_recorded(storage, content(size))
    async with storage.open_part(good.id, 0, None, good) as pieces:
        assert b"".join([piece async for piece in pieces]) == content(size)
    bad, sent = replace(good, sha256="0" * 64), list[bytes]()
    with pytest.raises(FileChangedError):
        await take(storage, bad, sent.append)
    assert b"".join(sent) == content(size)[: (size - 1) // MIB * MIB]


async def test_a_file_that_is_cut_off_while_it_is_sent_is_an_error(storage):
    good = await keep_recorded(storage, content(3 * MIB))
    with pytest.raises(FileChangedError):
        await take(storage, good, lambda _: os.truncate(storage.path_of(good.id), MIB))


async def take(storage: LocalStorage, recorded: NewFile, take_piece: Callable[[bytes], object]) -> None:
    async with storage.open_part(recorded.id, 0, None, recorded) as pieces:
        async for piece in pieces:
            take_piece(piece)
