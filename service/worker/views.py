"""The inputs of an attempt, as files of its own: whatever a processor does to them, what is stored stays as it is.

    <folder>/                            where the attempt works
    <folder>-inputs/<name>               its input, under a safe form of its name
    <folder>-inputs/<position>/<name>    of several, each has a folder of its own

They stand beside the folder, which is empty when the processor begins, and go when it goes.
"""

import asyncio
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

    async def make(
        self, files: Sequence[NewFile], folder: Path, *, with_folder: bool, reads_only: bool
    ) -> tuple[InputFile, ...]:
        """Return the inputs of one attempt, and make its folder too; told to stop, it leaves no thread that writes.

        Raises:
            FileChangedError: the stored bytes are not those that were uploaded.
            StorageFullError, StorageFailedError: the disk has no room for a copy, or refused; or the bytes are gone.
        """
        if not (files or with_folder):
            return ()
        is_long = not reads_only and sum(file.size_bytes for file in files) > _LONG_BYTES
        stop = threading.Event()
        lend = partial(self._storage.lend, reads_only=reads_only, go_on=partial(_go_on, stop))
        make = partial(_make, files, folder, lend, with_folder=with_folder)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._long, make) if is_long else in_own_thread(make)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            work.exception()  # it has been seen
            raise


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise StorageFailedError("the inputs are not wanted any more")


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
