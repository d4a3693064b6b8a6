"""Files in a folder of this machine.

    <root>/files/<key>           what is kept
    <root>/incoming/<boot>/<key> what is on its way in; whatever another boot left there is swept away

A file is durable when its bytes were written and synced, it was renamed into `files`, and that folder was synced.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import IO, TypeVar

import aiofiles.os

from service.boot_folder import BootFolder
from service.errors import StorageFailedError, StorageFullError, StoredFileNotFoundError
from service.storage.base import StoredBytes
from service.storage.folder_sync import FolderSync
from service.storage.sniff import HEAD_BYTES, sniff

PIECE_BYTES = 1024 * 1024
_SMALL_BYTES = 4096
_PAGE = 1000
_Chunk = bytes | bytearray | memoryview
_T = TypeVar("_T")


class LocalStorage:
    """Keeps files in `root`; uploads are refused while less than `min_free_bytes` are free there."""

    def __init__(self, root: Path, boot: str, min_free_bytes: int = 0) -> None:
        self._kept = root / "files"
        self.incoming = BootFolder(root / "incoming", boot)
        self._min_free_bytes = min_free_bytes
        self._folder_sync = FolderSync(self._kept)
        self._kept.mkdir(exist_ok=True)

    @asynccontextmanager
    async def upload(self, key: str) -> AsyncIterator["LocalUpload"]:
        upload = LocalUpload(self, self.incoming.path / key, self._kept / key)
        try:
            yield upload
        finally:
            await asyncio.shield(upload.discard())

    async def adopt(self, key: str, path: Path) -> StoredBytes:
        stored = await _off_loop(_seal_file, path, self._kept / key)
        await self.sync_folder()
        return stored

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        try:
            file = await aiofiles.open(self._kept / key, "rb", buffering=0)
        except FileNotFoundError:
            raise StoredFileNotFoundError(f"the bytes of the file {key} are gone") from None
        try:
            await file.seek(start)
            left = (await aiofiles.os.stat(self._kept / key)).st_size if stop is None else stop - start
            while left > 0 and (piece := await file.read(min(left, PIECE_BYTES))):
                left -= len(piece)
                yield piece
        finally:
            await file.close()

    def path_of(self, key: str) -> Path:
        return self._kept / key

    async def delete(self, keys: Iterable[str]) -> None:
        await _off_loop(_unlink_all, [self._kept / key for key in keys])

    async def list_keys(self) -> AsyncIterator[list[str]]:
        with await aiofiles.os.scandir(self._kept) as entries:
            while page := await _off_loop(_next_names, entries):
                yield page

    async def check(self) -> None:
        await _off_loop(self._probe)

    async def sync_folder(self) -> None:
        """Return once every rename into `files` so far is durable."""
        with _refusals():
            await self._folder_sync.wait()

    def require_room(self, fd: int) -> None:
        """Raise `StorageFullError` when the disk of this open file has come to the reserve."""
        free = (stat := os.fstatvfs(fd)).f_bavail * stat.f_frsize
        if free < self._min_free_bytes:
            raise StorageFullError(
                f"{free} bytes are free, and the server keeps {self._min_free_bytes} in reserve; try again later"
            )

    def _probe(self) -> None:
        """Do what an upload does, with one byte."""
        probe = self.incoming.path / "probe"
        with _refusals(), probe.open("wb", buffering=0) as file:
            try:
                self.require_room(file.fileno())
                file.write(b"\0")
                os.fsync(file.fileno())
            finally:
                probe.unlink()


class LocalUpload:
    """One file on its way in.

    Pieces of about 1 MiB are written and hashed in a thread while the next one arrives; no more than two are in
    memory. A small file is one piece: it is written, hashed, synced and renamed in one go.
    """

    def __init__(self, storage: LocalStorage, temporary: Path, target: Path) -> None:
        self._storage = storage
        self._temporary = temporary
        self._target = target
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._head = b""
        self._chunks: list[_Chunk] = []
        self._chunk_bytes = 0
        self._pending: asyncio.Task[StoredBytes | None] | None = None
        self._kept = False
        self.size_bytes = 0

    async def write(self, chunk: bytes | memoryview) -> None:
        self._gather(chunk)
        if self._chunk_bytes >= PIECE_BYTES:
            await self._settled()
            self._begin(self._write)

    async def keep(self) -> StoredBytes:
        await self._settled()
        self._begin(self._seal)
        stored = await self._settled()
        assert stored is not None  # noqa: S101 - _seal returned it
        await self._storage.sync_folder()
        self._kept = True
        return stored

    async def discard(self) -> None:
        """Close, and delete what was not kept."""
        if self._kept:
            return
        with suppress(StorageFailedError):
            await self._settled()
        await _off_loop(self._remove)

    def _gather(self, chunk: bytes | memoryview) -> None:
        """Hold a chunk without copying it, unless it is so small that holding it costs more."""
        self.size_bytes += len(chunk)
        self._chunk_bytes += len(chunk)
        if len(chunk) >= _SMALL_BYTES:
            self._chunks.append(chunk)
        elif self._chunks and isinstance(self._chunks[-1], bytearray):
            self._chunks[-1] += chunk
        else:
            self._chunks.append(bytearray(chunk))

    def _begin(self, step: Callable[[list[_Chunk]], StoredBytes | None]) -> None:
        chunks, self._chunks, self._chunk_bytes = self._chunks, [], 0
        self._pending = asyncio.create_task(_off_loop(step, chunks))

    async def _settled(self) -> StoredBytes | None:
        """Wait for the thread. It cannot be stopped: whoever is cancelled here leaves it to `discard` to wait."""
        if self._pending is None:
            return None
        stored = await asyncio.shield(self._pending)
        self._pending = None
        return stored

    # ---- in a thread

    def _write(self, chunks: list[_Chunk]) -> None:
        if self._file is None:
            self._file = self._temporary.open("xb", buffering=0)
            self._head = b"".join(chunks)[:HEAD_BYTES]
        self._storage.require_room(self._file.fileno())
        for chunk in chunks:
            _write_whole(self._file, chunk)
            self._digest.update(chunk)

    def _seal(self, chunks: list[_Chunk]) -> StoredBytes:
        self._write(chunks)
        assert self._file is not None  # noqa: S101 - _write opened it
        _publish(self._file, self._temporary, self._target)
        return StoredBytes(self.size_bytes, self._digest.hexdigest(), sniff(self._head))

    def _remove(self) -> None:
        if self._file is not None:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            self._target.unlink(missing_ok=True)


def _write_whole(file: IO[bytes], chunk: _Chunk) -> None:
    """Write all of it: a raw write may take less, when a signal or a limit cuts it short."""
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _publish(file: IO[bytes], temporary: Path, target: Path) -> None:
    """Sync, close and rename. An fsync that fails is final: the pages may be gone, and a second one would lie."""
    os.fchmod(file.fileno(), 0o400)
    os.fsync(file.fileno())
    file.close()
    temporary.replace(target)


def _seal_file(path: Path, target: Path) -> StoredBytes:
    """Publish a file that a processor wrote; a link is refused, wherever it points."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        size_bytes = file.tell()
        _publish(file, path, target)
    return StoredBytes(size_bytes, digest.hexdigest(), sniff(head))


def _unlink_all(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _next_names(entries: Iterator["os.DirEntry[str]"]) -> list[str]:
    return [entry.name for entry, _ in zip(entries, range(_PAGE), strict=False)]


async def _off_loop(function: Callable[..., _T], *args: object) -> _T:
    with _refusals():
        return await aiofiles.os.wrap(function)(*args)


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell the operating system's refusals in our own words."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise StorageFullError(f"the disk is full: {error.strerror}") from error
        raise StorageFailedError(f"the disk refused: {error.strerror or error}") from error
