"""A trial of the folders: the steps of an upload, and of taking over what a processor wrote, with one byte each.

Both end in a rename into the folder of kept files, which only works within one file system: rename(2), EXDEV.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.durable_folder import sync_folder
from service.errors import StartError, StorageFailedError
from service.storage.incoming_file import publish

PROBE = ".probe"  # no key looks like it
_LASTING = {errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ELOOP}


class Trial:
    """Moves a file from `incoming` into `kept`, and one from `work`, if there is one: what is to be adopted lies there.

    `kept` has to be the folder that it was when this was made.
    """

    def __init__(self, kept: Path, incoming: Path, work: Path | None = None) -> None:
        self._kept = kept
        self._incoming = incoming
        self._work = work
        self._identity = _identity(kept)

    def require_kept(self) -> None:
        """Raise `StorageFailedError` when the folder of kept files is another one, with other files in it."""
        if _identity(self._kept) != self._identity:
            raise StorageFailedError(
                f"the folder {self._kept.name} was replaced while the server ran; "
                "stop the server, put the folder back, and start it again"
            )

    def take(self, require_room: Callable[[int], None], *, durable: bool) -> None:
        """Do both.

        Raises:
            OSError: the disk refused.
            StorageFullError, StorageFailedError: there is no room, or the folder is another one.
        """
        self.require_kept()
        self._move_from(self._incoming, require_room, durable=durable)
        if self._work is not None:
            self._move_from(self._work, _any_room, durable=False)  # the syncs have been tried
        if durable:
            sync_folder(self._kept)

    def require_layout(self) -> None:
        """Raise `StartError` for what no waiting will mend. A full disk may have room again: that is told later."""
        for source in filter(None, (self._incoming, self._work)):
            try:
                self._move_from(source, _any_room, durable=False)
            except OSError as error:
                if error.errno in _LASTING:
                    raise StartError(_reason(error, source, self._kept)) from error

    def _move_from(self, source: Path, require_room: Callable[[int], None], *, durable: bool) -> None:
        probe, target = source / PROBE, self._kept / PROBE
        try:
            with probe.open("wb", buffering=0) as file:
                require_room(file.fileno())
                file.write(b"\0")
                publish(file, probe, target, durable=durable)
        finally:
            for path in (probe, target):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def unusable(data_dir: Path, error: OSError) -> StartError:
    """Return the reason why a folder in the data folder cannot be made."""
    path = Path(error.filename or data_dir)
    path = path if os.path.isdir(path.parent) else path.parent  # noqa: PTH112 - pathlib raises where it is locked
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
        why = f"it is a link to {path.readlink()}, which is not there; make that folder, or remove the link"
    elif os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112
        why = "it is no folder; move it away"
    else:
        why = f"{error.strerror}; the server has to make it and to write there"
    return StartError(f"{path} in the data folder {data_dir} cannot be used: {why}")


def _reason(error: OSError, source: Path, kept: Path) -> str:
    if error.errno == errno.EXDEV:
        return (
            f"{source.parent} and {kept} lie on different file systems, and files are moved from one to the other by "
            f"renaming them; keep the whole data folder {kept.parent} on one: mount or link that, or name another with "
            "--data-dir"
        )
    place = kept if error.filename2 is not None else source
    return f"{place} cannot be written: {error.strerror}; files on their way to {kept} are written and moved there"


def _any_room(_fd: int) -> None:
    """Take whatever there is."""


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
