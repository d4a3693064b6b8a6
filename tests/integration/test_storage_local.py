"""Local storage: the contract, and what a disk adds to it."""

import asyncio
import errno
import fcntl
import hashlib
import io
import os
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO, Any

import pytest

from service.boot_folder import BootFolder
from service.errors import StorageFailedError, StorageFullError, StoredFileNotFoundError
from service.storage import folder_sync, incoming_file
from service.storage.folder_sync import FolderSync
from service.storage.local import LocalStorage
from service.store.ids import new_id
from tests.contracts.storage import MIB, StorageContract, content, keep, keys_of, read


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    (tmp_path / "root").mkdir()
    return LocalStorage(tmp_path / "root", "boot-1")


def everything(root: Path) -> list[str]:
    """Return all files below the root."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        (tmp_path / "root").mkdir()
        return LocalStorage(tmp_path / "root", "boot-1")


# ---- durable, in this order


class Disk:
    """Takes down what is asked of the disk, and fails where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.calls: list[str] = []
        self._root = root
        self._failures: dict[str, OSError] = {}
        fsync, replace = os.fsync, Path.replace

        def spy_fsync(fd: int) -> None:
            self._take(f"fsync {self._name(Path(f'/proc/self/fd/{fd}').readlink())}")
            fsync(fd)

        def spy_replace(path: Path, target: Path) -> Path:
            self._take(f"rename {self._name(path)} to {self._name(target)}")
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", spy_fsync)
        monkeypatch.setattr(Path, "replace", spy_replace)

    def fail(self, call: str, number: int) -> None:
        """Make each call that begins so fail with the error number."""
        self._failures[call] = OSError(number, os.strerror(number))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else path.name

    def _take(self, call: str) -> None:
        self.calls.append(call)
        for start, error in self._failures.items():
            if call.startswith(start):
                raise error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    return Disk(monkeypatch, tmp_path / "root")


@pytest.mark.parametrize("size", [0, 10, 3 * MIB + 1])
async def test_bytes_are_synced_then_renamed_then_the_folder_is_synced(storage, disk, size):
    await keep(storage, "key", content(size))
    assert disk.calls == [
        "fsync incoming/boot-1/key",
        "rename incoming/boot-1/key to files/key",
        "fsync files",
    ]


async def test_an_adopted_file_is_synced_in_the_same_order(storage, disk, tmp_path):
    (tmp_path / "made").write_bytes(b"made")
    await storage.adopt("key", tmp_path / "made")
    assert disk.calls == ["fsync made", "rename made to files/key", "fsync files"]


async def test_nothing_is_called_kept_before_the_folder_was_synced(storage, monkeypatch):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow_sync() -> None:
        begun.set()
        await go_on.wait()

    monkeypatch.setattr(storage, "sync_folder", slow_sync)
    task = asyncio.create_task(keep(storage, "key", b"x"))
    await begun.wait()
    assert not task.done()
    go_on.set()
    await task


async def test_those_who_come_together_share_a_sync_of_the_folder(storage, disk):
    await asyncio.gather(*(keep(storage, new_id(), b"x") for _ in range(50)))
    syncs = disk.calls.count("fsync files")
    assert 1 <= syncs < 50
    assert disk.calls[-1] == "fsync files"
    assert len([call for call in disk.calls if call.startswith("rename")]) == 50


# ---- past the page cache


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Write past the cache from the third MiB on; what was written so, write by write."""
    seen: list[bool] = []
    write = incoming_file._write_whole

    def spy(file: IO[bytes], chunk: incoming_file.Chunk) -> None:
        write(file, chunk)
        seen.append(bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT))

    monkeypatch.setattr(incoming_file, "_write_whole", spy)
    monkeypatch.setattr(incoming_file, "DIRECT_FROM_BYTES", 2 * MIB)
    return seen


def direct_works(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "probe", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("size", [2 * MIB, 2 * MIB + 1, 3 * MIB, 4 * MIB + 4096, 5 * MIB - 1])
@pytest.mark.parametrize("chunk", [1000, 65536, 3 * MIB + 7])
async def test_what_passes_the_threshold_is_written_past_the_cache_and_is_the_same(
    storage, modes, size, chunk, tmp_path
):
    data = os.urandom(size)
    async with storage.upload("key") as upload:
        for start in range(0, size, chunk):
            await upload.write(data[start : start + chunk])
        stored = await upload.keep()
    assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert await read(storage, "key") == data
    whole = size // MIB
    expected = [False] * 2 + [direct_works(tmp_path)] * (whole - 2)
    assert modes[:whole] == expected
    assert not any(modes[whole:])


async def test_a_disk_that_knows_no_such_way_is_written_through_the_cache(storage, modes, monkeypatch):
    real, refused = fcntl.fcntl, []

    def refuse(file: IO[bytes], command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & os.O_DIRECT:
            refused.append(value)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(file, command, value)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    data = os.urandom(4 * MIB + 5)
    await keep(storage, "key", data)
    assert await read(storage, "key") == data
    assert refused
    assert not any(modes)


async def test_a_disk_that_refuses_at_the_first_such_write_gets_it_through_the_cache(tmp_path):
    class Picky(io.FileIO):
        """A file whose every write past the cache is refused, as for blocks of another size."""

        refused = 0

        def write(self, data: Any) -> int:
            if fcntl.fcntl(self, fcntl.F_GETFL) & os.O_DIRECT:
                self.refused += 1
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return super().write(data)

    if not direct_works(tmp_path):
        pytest.skip("this file system knows no writes past the cache")
    with Picky(tmp_path / "file", "wb") as picky:
        assert incoming_file._set_direct(picky, wanted=True)
        incoming_file._write_whole(picky, b"bytes")
    assert picky.refused == 1
    assert (tmp_path / "file").read_bytes() == b"bytes"


async def test_an_upload_that_waits_for_its_client_holds_no_buffer(storage):
    before = mapped_bytes()
    async with AsyncExitStack() as stack:
        uploads = [await stack.enter_async_context(storage.upload(f"key-{number}")) for number in range(8)]
        for _ in range(3):
            for upload in uploads:
                await upload.write(bytes(MIB))
                await asyncio.wait(upload._pending)
        assert mapped_bytes() - before <= 5 * MIB


def mapped_bytes() -> int:
    """Return what is mapped of the memory that `mmap` makes."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "/dev/zero" in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ranges)


# ---- what fails


@pytest.mark.parametrize("step", ["fsync incoming", "rename", "fsync files"])
@pytest.mark.parametrize("size", [10, 3 * MIB])
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EIO, StorageFailedError), (errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError)],
)
async def test_a_step_that_fails_means_failed_and_nothing_stored(storage, disk, tmp_path, step, size, number, error):
    disk.fail(step, number)
    with pytest.raises(StorageFailedError) as failure:
        await keep(storage, new_id(), content(size))
    assert type(failure.value) is error
    assert everything(tmp_path / "root") == []
    assert len([call for call in disk.calls if call.startswith(step)]) == 1  # never tried again


@pytest.mark.parametrize("step", ["fsync made", "rename", "fsync files"])
async def test_adopting_fails_in_the_same_way(storage, disk, tmp_path, step):
    (tmp_path / "made").write_bytes(b"made")
    disk.fail(step, errno.EIO)
    with pytest.raises(StorageFailedError):
        await storage.adopt("key", tmp_path / "made")
    assert everything(tmp_path / "root") == []


async def test_those_who_share_a_failed_sync_all_fail_and_the_next_one_is_tried_anew(storage, disk, tmp_path):
    disk.fail("fsync files", errno.EIO)
    answers = await asyncio.gather(*(keep(storage, new_id(), b"x") for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StorageFailedError}
    assert everything(tmp_path / "root") == []
    disk._failures.clear()
    await keep(storage, "key", b"x")
    assert everything(tmp_path / "root") == ["files/key"]


async def test_an_upload_refused_in_the_middle_says_so_and_leaves_nothing(storage, monkeypatch, tmp_path):
    full = refuse_after(storage.require_room, 2)
    monkeypatch.setattr(storage, "require_room", full)
    with pytest.raises(StorageFullError):
        await keep(storage, new_id(), *(content(MIB) for _ in range(5)))
    assert everything(tmp_path / "root") == []


def refuse_after(check: Callable[[int], None], count: int) -> Callable[[int], None]:
    """Let the check pass a few times, then say that the disk is full."""
    left = [count]

    def limited(fd: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StorageFullError
        check(fd)

    return limited


async def test_an_upload_that_is_cancelled_while_it_is_made_durable_leaves_nothing(storage, monkeypatch, tmp_path):
    begun = asyncio.Event()

    async def endless_sync() -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(storage, "sync_folder", endless_sync)
    task = asyncio.create_task(keep(storage, "key", b"x"))
    await begun.wait()
    assert everything(tmp_path / "root") == ["files/key"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everything(tmp_path / "root") == []


class Refused(Exception):  # noqa: N818 - not one that the storage expects
    """Something else went wrong."""


async def test_whatever_goes_wrong_with_a_sync_nobody_is_left_waiting(tmp_path, monkeypatch):
    sync = FolderSync(tmp_path)
    for error, told in ((Refused, Refused), (asyncio.CancelledError, OSError)):

        def fail(_folder: Path, error: type[BaseException] = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(folder_sync, "sync_folder", fail)
            async with asyncio.timeout(60):
                answers = await asyncio.gather(*(sync.wait() for _ in range(5)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {told}
    async with asyncio.timeout(60):
        await sync.wait()


async def test_an_upload_whose_writing_broke_in_an_unknown_way_leaves_nothing(storage, monkeypatch, tmp_path):
    def fail(_file: object, _chunk: object) -> None:
        raise Refused

    monkeypatch.setattr("service.storage.incoming_file._write_whole", fail)
    with pytest.raises(Refused):
        await keep(storage, new_id(), content(3 * MIB))
    assert everything(tmp_path / "root") == []


async def test_an_adoption_that_is_cancelled_in_its_thread_leaves_nothing(storage, monkeypatch, tmp_path):
    (tmp_path / "made").write_bytes(b"made")
    reached, go_on = threading.Event(), threading.Event()
    replace = Path.replace

    def slow_replace(path: Path, target: Path) -> Path:
        reached.set()
        assert go_on.wait(60)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", slow_replace)
    task = asyncio.create_task(storage.adopt("key", tmp_path / "made"))
    await asyncio.to_thread(reached.wait)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everything(tmp_path / "root") == []


async def test_of_many_to_be_deleted_one_that_cannot_be_does_not_save_the_others(storage, tmp_path):
    await keep(storage, "a", b"x")
    (tmp_path / "root" / "files" / "b").mkdir()
    await keep(storage, "c", b"x")
    with pytest.raises(StorageFailedError):
        await storage.delete(["a", "b", "c"])
    assert await keys_of(storage) == ["b"]


async def test_the_folder_of_files_is_durable_in_the_one_above_when_it_is_made(disk, tmp_path):
    LocalStorage(tmp_path / "root" / "deep", "boot-1")
    assert disk.calls == ["fsync deep"]
    LocalStorage(tmp_path / "root" / "deep", "boot-2")
    assert disk.calls == ["fsync deep"]


# ---- room


async def test_below_the_reserve_uploads_are_refused_in_words(tmp_path):
    storage = LocalStorage(tmp_path, "boot-1", min_free_bytes=2**62)
    with pytest.raises(StorageFullError, match=r"\d+ bytes are free, and the server keeps 4611686018427387904"):
        await keep(storage, new_id(), b"x")
    with pytest.raises(StorageFullError):
        await storage.check()
    assert everything(tmp_path) == []


async def test_a_reserve_that_is_there_is_no_hindrance(tmp_path):
    storage = LocalStorage(tmp_path, "boot-1", min_free_bytes=1)
    await keep(storage, "key", b"x")
    await storage.check()
    assert everything(tmp_path) == ["files/key"]


async def test_a_disk_that_does_not_sync_is_not_in_good_health(storage, disk, tmp_path):
    disk.fail("fsync incoming", errno.EIO)
    with pytest.raises(StorageFailedError):
        await storage.check()
    assert everything(tmp_path / "root") == []


# ---- what lies in the folder


async def test_a_file_on_its_way_in_lies_where_nobody_looks(storage, tmp_path):
    async with storage.upload("key") as upload:
        for _ in range(3):
            await upload.write(content(MIB))
        assert everything(tmp_path / "root") == ["incoming/boot-1/key"]
    assert everything(tmp_path / "root") == []


async def test_what_is_kept_cannot_be_written_by_accident(storage):
    await keep(storage, "key", b"x")
    assert storage.path_of("key").stat().st_mode & 0o777 == 0o400


async def test_two_uploads_under_one_key_do_not_destroy_each_other(storage):
    async with storage.upload("key") as first:
        await first.write(content(3 * MIB))  # the third piece waits for the first: the file is open by then
        with pytest.raises(StorageFailedError):
            await keep(storage, "key", b"second")
        await first.keep()
    assert await read(storage, "key") == content(3 * MIB)


async def test_every_key_of_a_large_folder_is_listed_once(storage, tmp_path):
    keys = sorted(new_id() for _ in range(3005))
    for key in keys:
        (tmp_path / "root" / "files" / key).touch()
    pages = [page async for page in storage.list_keys()]
    assert sorted(key for page in pages for key in page) == keys
    assert max(map(len, pages)) < 3005


async def test_a_listing_that_is_left_early_closes_its_folder(storage):
    await keep(storage, "key", b"x")
    listing = storage.list_keys()
    assert await anext(listing) == ["key"]
    await listing.aclose()
    assert await keys_of(storage) == ["key"]


async def test_a_file_that_is_deleted_while_it_is_opened_is_gone_or_whole(storage, monkeypatch):
    """Between the open and the first byte, whatever is asked by the path may find nothing."""
    await keep(storage, "key", b"whole")
    real_open = os.open

    def open_then_delete(path: Path, *args: Any, **kwargs: Any) -> int:
        descriptor = real_open(path, *args, **kwargs)
        path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_then_delete)
    assert await read(storage, "key") == b"whole"
    with pytest.raises(StoredFileNotFoundError):
        await read(storage, "key")


async def test_a_sweep_deletes_what_other_starts_left_and_nothing_else(tmp_path):
    old, new = BootFolder(tmp_path, "boot-1"), BootFolder(tmp_path, "boot-2")
    (old.path / "deep" / "deeper").mkdir(parents=True)
    (old.path / "deep" / "deeper" / "file").touch()
    (new.path / "file").touch()
    await new.sweep()
    assert everything(tmp_path) == ["boot-2/file"]
    assert [path.name for path in tmp_path.iterdir()] == ["boot-2"]


async def test_relaxed_storage_keeps_the_same_bytes_without_a_sync(tmp_path, monkeypatch):
    def refuse(_number):
        raise AssertionError("a sync")

    storage = LocalStorage(tmp_path / "root", "boot-1", durable=False)
    monkeypatch.setattr(os, "fsync", refuse)
    async with storage.upload("key") as upload:
        await upload.write(b"bytes")
        await upload.keep()
    (tmp_path / "made").write_bytes(b"made")
    await storage.adopt("other", tmp_path / "made")
    assert [(storage.path_of(key)).read_bytes() for key in ("key", "other")] == [b"bytes", b"made"]
