"""Files in a folder of this machine.

    <root>/files/<key>           what is kept
    <root>/incoming/<boot>/<key> what is on its way in; whatever another boot left there is swept away

A file is durable when its bytes were written and synced, it was renamed into `files`, and that folder was synced.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from threading import Lock

from service.boot_folder import BootFolder
from service.durable_folder import make_folder
from service.errors import StorageFullError, StoredFileNotFoundError
from service.sniff import HEAD_BYTES, sniff
from service.storage import copying
from service.storage.base import Recorded, StoredBytes
from service.storage.folder_sync import FolderSync
from service.storage.incoming_file import Buffers, IncomingFile, publish
from service.storage.integrity import Integrity, changed
from service.storage.local_upload import LocalUpload
from service.storage.open_part import OpenPart
from service.storage.refusals import off_loop, refusals
from service.storage.regular import NoFileError, open_regular
from service.storage.rehash import Rehash
from service.storage.trial import PROBE, Trial

_PAGE = 1000


class LocalStorage:
    """Keeps files in `root`; uploads are refused while less than `min_free_bytes` are free there.

    What is not `durable` is left to the system to write: it outlives this process, but a power cut takes the last.
    `work` is the folder in which files are made that are to be adopted: `check` tries it too.
    """

    def __init__(
        self, root: Path, boot: str, min_free_bytes: int = 0, *, durable: bool = True, work: Path | None = None
    ) -> None:
        self.durable = durable
        self._kept = root / "files"
        self.incoming = BootFolder(root / "incoming", boot)
        self._min_free_bytes = min_free_bytes
        self._fresh: set[str] = set()
        self._hashers = ThreadPoolExecutor(thread_name_prefix="hash")
        self._buffers = Buffers()
        self._integrity = Integrity()
        self._rehash = Rehash(self._integrity)
        make_folder(self._kept)
        self._trial = Trial(self._kept, self.incoming.path, work)
        self._trying: asyncio.Task[None] | None = None
        self._folder_sync = FolderSync(self._kept, self._trial.require_kept)

    @asynccontextmanager
    async def upload(self, key: str) -> AsyncIterator["LocalUpload"]:
        file = IncomingFile(
            self.incoming.path / key,
            self._kept / key,
            self.require_room,
            self._hashers,
            self._buffers,
            durable=self.durable,
        )
        upload = LocalUpload(file, self.sync_folder)
        self._fresh.add(key)
        try:
            yield upload
        finally:
            if not upload.is_kept:
                await asyncio.shield(upload.discard())
                self._fresh.discard(key)

    async def adopt(self, key: str, path: Path) -> StoredBytes:
        self._fresh.add(key)
        sealing = asyncio.create_task(off_loop(self._seal, key, path))
        try:
            stored = await asyncio.shield(sealing)
            await self.sync_folder()
        except BaseException:
            await asyncio.shield(self._take_back(key, sealing))
            raise
        return stored

    @asynccontextmanager
    async def open_part(
        self, key: str, start: int = 0, stop: int | None = None, recorded: Recorded | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        part = await off_loop(self._open_part, key, start, stop, recorded)
        try:
            await part.settle(self._rehash)
            yield part.pieces()
        finally:
            await off_loop(part.close)

    def lend(self, recorded: Recorded, path: Path, *, reads_only: bool, go_on: Callable[[], None]) -> None:
        with refusals(), self._open(recorded.id) as file:
            self._integrity.require(file, recorded)
            if reads_only and copying.link(self.path_of(recorded.id), path):
                return
            _ = file.seek(0)
            copying.copy(file.fileno(), path, before=lambda fd: self.require_room(fd, recorded.size_bytes), go_on=go_on)

    def path_of(self, key: str) -> Path:
        """Return where the bytes are; nobody but this storage may be told."""
        return self._kept / key

    async def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        self._fresh.difference_update(doomed)
        await off_loop(_unlink_all, [self._kept / key for key in doomed])

    async def list_keys(self) -> AsyncIterator[list[str]]:
        listing = _Listing(self._kept)
        try:
            while page := await off_loop(listing.next_page):
                yield page
        finally:
            await asyncio.shield(off_loop(listing.close))

    def list_fresh(self) -> list[str]:
        return list(self._fresh)

    def confirm(self, keys: Iterable[str]) -> None:
        self._fresh.difference_update(keys)

    async def check(self) -> None:
        """Try what an upload does, and an adoption. Who asks while a trial hangs, waits for that one."""
        if self._trying is None or self._trying.done():
            trial = partial(self._trial.take, self.require_room, durable=self.durable)
            self._trying = asyncio.create_task(off_loop(trial))
            self._trying.add_done_callback(_seen)
        await asyncio.shield(self._trying)

    def require_layout(self) -> None:
        """Raise `StartError` when nothing could ever be kept here."""
        self._trial.require_layout()

    async def sync_folder(self) -> None:
        """Return once every rename into `files` so far is as durable as it shall be."""
        if self.durable:
            with refusals():
                await self._folder_sync.wait()

    def require_room(self, fd: int, wanted_bytes: int = 0) -> None:
        """Raise `StorageFullError` when the disk of this open file has come to the reserve, or these bytes would."""
        free = (stat := os.fstatvfs(fd)).f_bavail * stat.f_frsize
        if free - wanted_bytes < self._min_free_bytes:
            raise StorageFullError(
                f"{free} bytes are free, and the server keeps {self._min_free_bytes} in reserve; try again later"
            )

    async def _take_back(self, key: str, sealing: asyncio.Task[StoredBytes]) -> None:
        """Delete what was adopted; the thread cannot be stopped, only waited for."""
        await asyncio.wait([sealing])
        await self.delete([key])

    def _open(self, key: str) -> FileIO:
        try:
            return open_regular(self.path_of(key), follow=True)
        except FileNotFoundError:
            raise StoredFileNotFoundError(f"the bytes of the file {key} are gone") from None
        except NoFileError as error:
            raise changed(key, error.detail) from None

    def _open_part(self, key: str, start: int, stop: int | None, recorded: Recorded | None) -> OpenPart:
        file = self._open(key)
        try:
            return OpenPart(file, start, stop, recorded, self._integrity)
        except BaseException:
            file.close()
            raise

    def _seal(self, key: str, path: Path) -> StoredBytes:
        """Publish a file that a processor wrote, or a copy where somebody else has a hold on its bytes."""
        target = self.path_of(key)
        with open_regular(path, follow=False) as file:
            if not copying.is_shared(file.fileno()):
                return _published(file, path, target, durable=self.durable)
            own = self.incoming.path / key
            try:
                copying.copy(file.fileno(), own, before=self.require_room)
                with open_regular(own, follow=False) as copy:
                    stored = _published(copy, own, target, durable=self.durable)
            finally:
                own.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return stored


def _seen(trial: asyncio.Task[None]) -> None:
    """Look at the error of a trial that nobody may wait for any more."""
    if not trial.cancelled():
        trial.exception()


def _published(file: FileIO, path: Path, target: Path, *, durable: bool) -> StoredBytes:
    head = file.read(HEAD_BYTES)
    _ = file.seek(0)
    digest = hashlib.file_digest(file, "sha256")
    size_bytes = file.tell()
    publish(file, path, target, durable=durable)
    return StoredBytes(size_bytes, digest.hexdigest(), sniff(head))


def _unlink_all(paths: list[Path]) -> None:
    """Delete all that can be deleted, and then tell the first refusal."""
    refusals: list[OSError] = []
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


class _Listing:
    """The names in a folder, page by page. `close` waits for a page that a thread still reads, and ends it there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: Iterator[os.DirEntry[str]] | None = None
        self._stack = ExitStack()
        self._lock = Lock()
        self._closed = False

    def next_page(self) -> list[str]:
        with self._lock:
            if self._closed:
                return []
            if self._entries is None:
                self._entries = self._stack.enter_context(os.scandir(self._folder))
            return list(islice((entry.name for entry in self._entries if entry.name != PROBE), _PAGE))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._stack.close()
