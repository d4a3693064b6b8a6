"""Files on their way from the server: under a safe name, whole or not at all, and checked."""

import errno
import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.client.answers import DamagedDownloadError, File
from service.naming import bare_name


def place(file: File, target: Path) -> Path:
    """Return the path that a download has: `target` itself, or inside it when it is a folder."""
    return target / bare_name(file.name, file.id) if target.is_dir() else target


class Download:
    """A new file beside `path`, which takes the place of `path` once it is whole and right.

    Raises:
        FileExistsError: there is something at `path`, and `overwrite` is not set.
    """

    def __init__(self, file: File, path: Path, *, overwrite: bool) -> None:
        refuse_existing(path, overwrite=overwrite)
        self.done = 0
        self._file = file
        self._path = path
        self._overwrite = overwrite
        self._digest = hashlib.sha256()
        self._part = path.with_name(f".{secrets.token_hex(8)}.part")
        self._stream = self._part.open("xb")

    def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            OSError: it cannot be written; the error names the path.
        """
        with _named(self._path):
            self._stream.write(piece)
        self._digest.update(piece)
        self.done += len(piece)

    def finish(self) -> None:
        """Give the file its name, if its SHA-256 is what the server says.

        Raises:
            DamagedDownloadError: it is not.
            FileExistsError: something took the name meanwhile, and `overwrite` is not set.
        """
        with _named(self._path):
            self._stream.close()
        if self._digest.hexdigest() != self._file.sha256:
            raise DamagedDownloadError(
                f"{self._file.name!r} arrived damaged: {self.done} bytes, "
                f"not the {self._file.size_bytes} that the server stored"
            )
        if not self._overwrite:
            self._path.open("xb").close()  # claims the name: refused if somebody took it meanwhile
        self._part.replace(self._path)

    def close(self) -> None:
        """Leave nothing of a download that did not finish."""
        with suppress(OSError):  # on a full disk
            self._stream.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error say which file it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `FileExistsError` when the download would take the place of something else."""
    if not overwrite and (path.exists() or path.is_symlink()):
        raise FileExistsError(errno.EEXIST, "there is a file of this name already", str(path))
