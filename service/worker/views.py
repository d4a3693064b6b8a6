"""The inputs of an attempt, as files of its own: whatever a processor does to them, what is stored stays as it is.

    <folder>/                            where the attempt works
    <folder>-inputs/<name>               its input, under a safe form of its name
    <folder>-inputs/<position>/<name>    of several, each has a folder of its own

They stand beside the folder, which is empty when the processor begins, and go when it goes.
"""

import asyncio
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from service.errors import StorageFailedError, StoredFileNotFoundError
from service.naming import tool_name
from service.own_threads import in_own_thread
from service.processors.base import InputFile
from service.storage.base import Storage
from service.storage.refusals import refusals
from service.store.records import NewFile

_LONG_BYTES = 16 * 1024**2
_LONG_AT_ONCE = 2


class Views:
    """Makes them in threads. What is long to copy has threads of its own, so that nobody else waits for one."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._long = ThreadPoolExecutor(_LONG_AT_ONCE, thread_name_prefix="views")
        self._under_way: set[_Making] = set()

    async def make(
        self, files: Sequence[NewFile], folder: Path, *, with_folder: bool, reads_only: bool
    ) -> tuple[InputFile, ...]:
        """Return the inputs of one attempt, and make its folder too; told to stop, it leaves no thread that writes.

        Given up, it cannot wait for the thread, which ends by itself, and removes what it has made.

        Raises:
            FileChangedError: the stored bytes are not those that were uploaded.
            StorageFullError, StorageFailedError: the disk has no room for a copy, or refused; or the bytes are gone.
        """
        if not (files or with_folder):
            return ()
        is_long = not reads_only and sum(file.size_bytes for file in files) > _LONG_BYTES
        making = _Making(files, folder, partial(self._storage.lend, reads_only=reads_only), with_folder=with_folder)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._long, making.run) if is_long else in_own_thread(making.run)
        work.add_done_callback(_see)
        self._under_way.add(making)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if making.stop():
                await asyncio.wait([work])
            work.cancel()
            raise
        finally:
            making.stop()
            self._under_way.discard(making)

    async def aclose(self) -> None:
        """Stop what is still copied, and return when its threads have ended."""
        for making in self._under_way:
            making.stop()
        await in_own_thread(partial(self._long.shutdown, cancel_futures=True))


class _Making:
    """What one thread does for one attempt."""

    def __init__(self, files: Sequence[NewFile], folder: Path, lend: Callable[..., None], *, with_folder: bool) -> None:
        self._folder = folder
        self._lend = partial(lend, go_on=self._go_on)
        self._make = partial(_make, files, folder, self._lend_next, with_folder=with_folder)
        self._turn = threading.Lock()  # the thread takes it when it begins, or whoever stops it before that
        self._is_stopped = threading.Event()

    def run(self) -> tuple[InputFile, ...]:
        """Make them, unless it was stopped before."""
        if not self._turn.acquire(blocking=False):
            return ()
        try:
            return self._make()
        finally:
            if self._is_stopped.is_set():
                for place in (self._folder, inputs_of(self._folder)):
                    shutil.rmtree(place, ignore_errors=True)

    def stop(self) -> bool:
        """Have it end soon; return whether it has begun at all."""
        self._is_stopped.set()
        return not self._turn.acquire(blocking=False)

    def _lend_next(self, file: NewFile, path: Path) -> None:
        self._go_on()
        self._lend(file, path)

    def _go_on(self) -> None:
        if self._is_stopped.is_set():
            raise StorageFailedError("the inputs are not wanted any more")


def _see(work: asyncio.Future[tuple[InputFile, ...]]) -> None:
    """Look at the error of work that nobody may wait for any more."""
    if not work.cancelled():
        work.exception()


def _make(
    files: Sequence[NewFile], folder: Path, lend: Callable[[NewFile, Path], None], *, with_folder: bool
) -> tuple[InputFile, ...]:
    with refusals():
        if with_folder:
            folder.mkdir()
        paths = make_places([file.name for file in files], folder)
        return tuple(_view(file, path, lend) for file, path in zip(files, paths, strict=True))


def _view(file: NewFile, path: Path, lend: Callable[[NewFile, Path], None]) -> InputFile:
    try:
        lend(file, path)
    except StoredFileNotFoundError as error:
        raise StorageFailedError(error.detail) from error
    return InputFile(file.id, file.name, file.media_type, file.size_bytes, file.sha256, path)


def inputs_of(folder: Path) -> Path:
    """Return where the inputs are of the attempt that works in this folder."""
    return folder.with_name(f"{folder.name}-inputs")


def make_places(names: Sequence[str], folder: Path) -> list[Path]:
    """Make the folders, and return where each input goes."""
    if not names:
        return []
    place = inputs_of(folder)
    place.mkdir()
    if len(names) == 1:
        return [place / tool_name(names[0])]
    places = [place / str(position) for position in range(len(names))]
    for one in places:
        one.mkdir()
    return [one / tool_name(name) for one, name in zip(places, names, strict=True)]
