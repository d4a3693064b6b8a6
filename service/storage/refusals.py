"""What a disk refuses, in our own words, and the thread in which it is asked."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOENT, ENOSPC, ENOTDIR, EXDEV
from pathlib import Path
from typing import TypeVar

from service.errors import StorageFailedError, StorageFullError
from service.own_threads import in_own_thread

_T = TypeVar("_T")
_FOLDERS = {"files", "incoming", "work"}


async def off_loop(function: Callable[..., _T], *args: object) -> _T:
    """Call the function in a thread of the service.

    Raises:
        StorageFullError, StorageFailedError: for what the operating system refused.
    """
    with refusals():
        return await in_own_thread(function, *args)


@contextmanager
def refusals() -> Iterator[None]:
    """Tell the operating system's refusals in our own words."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise StorageFullError(f"the disk is full: {error.strerror}") from error
        raise StorageFailedError(_words(error)) from error


def _words(error: OSError) -> str:
    """Say what was refused, and where: by the name of the folder, for its path is nobody else's business."""
    places = [place for name in (error.filename, error.filename2) if (place := _place(name)) is not None]
    # by os.path, for pathlib raises where a folder on the way is locked
    gone = [name for name, folders in places if not all(map(os.path.isdir, folders))]
    names = " and ".join(name for name, _ in places)
    if gone and error.errno in (ENOENT, ENOTDIR):
        return f"the folder {gone[0]} was deleted or replaced while the server ran; start the server again"
    if error.errno == EXDEV and names:
        return f"the folders {names} lie on different file systems, and files cannot be moved from one to the other"
    return f"the disk refused: {error.strerror or error}" + (f", in the folder {names}" if names else "")


def _place(name: object) -> tuple[str, list[Path]] | None:
    """Return the name of the folder of the data folder that a path lies in, or is, and what has to be there for it."""
    path = Path(name) if isinstance(name, str) else Path()
    folder = next((one for one in (path, *path.parents) if one.name in _FOLDERS), None)
    return None if folder is None else (folder.name, [folder, path.parent])
