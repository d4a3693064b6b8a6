"""Local storage: what it lends, and what it does about bytes that are not those that were kept."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import FileChangedError, StorageFailedError, StorageFullError
from service.storage import integrity, rehash
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


def unlock(path: Path) -> None:
    path.chmod(0o644)


def keep_elsewhere(path: Path) -> None:
    path.rename(path.parents[1] / "elsewhere")
    path.symlink_to(path.parents[1] / "elsewhere")


@pytest.mark.parametrize("alter", [unlock, keep_elsewhere])
async def test_a_name_through_which_one_could_write_is_not_given(storage, recorded, tmp_path, alter):
    alter(storage.path_of(recorded.id))
    assert lend(storage, recorded, tmp_path / "view", reads_only=True).st_nlink == 1
    assert not (tmp_path / "view").is_symlink()
    (tmp_path / "view").write_bytes(b"spoilt")
    assert storage.path_of(recorded.id).read_bytes() == b"whole"


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


def write_inside(path: Path) -> None:
    """Write a byte, and set the clock of the file back."""
    times = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("size", [1000, 3 * MIB])
async def test_a_part_of_a_file_that_was_changed_and_set_back_is_an_error(storage, size):
    good = await keep_recorded(storage, content(size))
    async with storage.open_part(good.id, 10, 20, good) as pieces:
        assert [piece async for piece in pieces] == [content(size)[10:20]]
    write_inside(storage.path_of(good.id))
    with pytest.raises(FileChangedError):
        async with storage.open_part(good.id, 10, 20, good):
            pass


async def changed_since(storage: LocalStorage, size: int) -> NewFile:
    """Keep a file to which something was done after its row, but for which its own clock stands before that."""
    good = await keep_recorded(storage, content(size))
    early = good.created_at - timedelta(hours=1)
    os.utime(storage.path_of(good.id), (early.timestamp() - 1,) * 2)
    return replace(good, created_at=early)


@pytest.fixture
def hashing(monkeypatch):
    """Hold the hashes of large files until `may_end` is set; `begun` says how many there were."""

    class Hashing:
        may_end = threading.Event()
        begun = 0

        def hash_of_all(self, fd: int) -> str:
            self.begun += 1
            assert self.may_end.wait(60)
            return hash_of_all(fd)

    hash_of_all, hashing = rehash._hash_of_all, Hashing()
    monkeypatch.setattr(rehash, "_hash_of_all", hashing.hash_of_all)
    yield hashing
    hashing.may_end.set()


@pytest.mark.parametrize("is_sound", [True, False])
async def test_all_who_want_a_part_wait_for_one_hash_and_hold_no_thread(storage, hashing, monkeypatch, is_sound):
    good = await changed_since(storage, 3 * MIB)
    if not is_sound:
        write_inside(storage.path_of(good.id))
    waiting, all_wait, require = list[asyncio.Task[Any]](), asyncio.Event(), rehash.Rehash.require

    async def noted(*args: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting.append(task)
        if len(waiting) == 40:
            all_wait.set()
        await require(*args)

    async def part() -> bytes:
        async with storage.open_part(good.id, 10, 20, good) as pieces:
            return b"".join([piece async for piece in pieces])

    monkeypatch.setattr(rehash.Rehash, "require", noted)
    parts = [asyncio.create_task(part()) for _ in range(40)]
    async with asyncio.timeout(60):
        await all_wait.wait()
        await storage.check()
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    hashing.may_end.set()
    answers = await asyncio.gather(*(one for one in parts if one is not waiting[0]), return_exceptions=True)
    expected = content(3 * MIB)[10:20] if is_sound else FileChangedError
    assert [one if is_sound else type(one) for one in answers] == [expected] * 39
    assert hashing.begun == 1


async def test_few_files_are_hashed_at_once_so_that_others_have_threads(storage, hashing, monkeypatch):
    monkeypatch.setattr(rehash, "_AT_ONCE", 2)
    storage = LocalStorage(storage.path_of("x").parents[1], "boot-2")
    files = [await changed_since(storage, 2 * MIB) for _ in range(40)]
    parts = [asyncio.create_task(take(storage, file, lambda _: None, 1)) for file in files]
    async with asyncio.timeout(60):
        while len(storage._rehash._under_way) < 40:
            await asyncio.sleep(0)
        await storage.check()
    assert hashing.begun <= 2
    hashing.may_end.set()
    await asyncio.gather(*parts)
    assert (hashing.begun, storage._rehash._under_way) == (40, {})


async def test_for_nothing_of_a_file_it_is_not_hashed(storage, hashing):
    good = await changed_since(storage, 3 * MIB)
    hashing.may_end.set()
    for start, stop, hashes in ((0, 0, 0), (0, None, 0), (10, 20, 1)):
        async with storage.open_part(good.id, start, stop, good):
            assert hashing.begun == hashes


def write_late(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(3 * MIB - 1)
        file.write(b"!")


def write_the_same(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(content(3 * MIB))


@pytest.mark.parametrize("start", [0, 1])
async def test_a_file_that_was_sound_and_is_changed_while_it_is_sent_is_an_error(storage, monkeypatch, start):
    monkeypatch.setattr(integrity, "_SETTLED_NS", -(10**18))
    good = await keep_recorded(storage, content(3 * MIB))
    await take(storage, good, lambda _: None)
    await take(storage, good, lambda _: write_the_same(storage.path_of(good.id)), start)
    with pytest.raises(FileChangedError):
        await take(storage, good, lambda _: write_late(storage.path_of(good.id)), start)


KINDS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to(os.devnull),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_file_any_more_is_neither_lent_nor_sent_and_holds_nobody(storage, recorded, tmp_path, kind):
    path = storage.path_of(recorded.id)
    path.unlink()
    KINDS[kind](path)
    with pytest.raises(FileChangedError, match=kind):
        lend(storage, recorded, tmp_path / "view")
    with pytest.raises(FileChangedError, match=kind):
        await take(storage, recorded, lambda _: None)


async def test_a_pipe_is_not_adopted_and_holds_nobody(storage, tmp_path):
    os.mkfifo(tmp_path / "output")
    with pytest.raises(StorageFailedError, match="a pipe"):
        await storage.adopt("key", tmp_path / "output")


async def take(storage: LocalStorage, recorded: NewFile, take_piece: Callable[[bytes], object], start: int = 0) -> None:
    async with storage.open_part(recorded.id, start, None, recorded) as pieces:
        async for piece in pieces:
            take_piece(piece)
