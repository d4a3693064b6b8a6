"""Files on their way from the server: under a safe name, whole or not at all, and checked."""

import errno
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.client.answers import DamagedDownloadError, File
from service.client.uploads import Moved

MAX_NAME_BYTES = 200
_FOR_SYSTEMS = re.compile(r'[<>:"|?*]')  # what some file systems refuse
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format and surrogate characters, line ends


def bare_name(name: str, fallback: str) -> str:
    """Make a file name of what the server says a file is called.

    Nothing in it leads to another folder, hides the file, or plays tricks in a terminal; at most 200 bytes.
    A name that leaves nothing becomes `fallback`.
    """
    last = re.split(r"[/\\]", name)[-1]
    seen = "".join(one for one in last if unicodedata.category(one) not in _UNSEEN)
    return _shorten(_FOR_SYSTEMS.sub("_", seen).strip().lstrip(".").strip()) or fallback


def place(file: File, target: Path) -> Path:
    """Return the path that a download has: `target` itself, or inside it when it is a folder."""
    return target / bare_name(file.name, file.id) if target.is_dir() else target


@contextmanager
def open_part(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a new file beside `path`; it takes the place of `path` when the block ends well.

    Raises:
        FileExistsError: there is something at `path`, and `overwrite` is not set.
    """
    refuse_existing(path, overwrite=overwrite)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            yield stream
        if not overwrite:
            path.open("xb").close()  # claims the name: refused if somebody took it meanwhile
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `FileExistsError` when the download would take the place of something else."""
    if not overwrite and (path.exists() or path.is_symlink()):
        raise FileExistsError(errno.EEXIST, "there is a file of this name already", str(path))


def write_checked(pieces: Iterable[bytes], stream: BinaryIO, file: File, on_progress: Moved | None) -> None:
    """Write the pieces and compare their SHA-256 with what the server says of the file.

    Raises:
        DamagedDownloadError: they differ.
    """
    digest, done = hashlib.sha256(), 0
    for piece in pieces:
        stream.write(piece)
        digest.update(piece)
        done += len(piece)
        if on_progress is not None:
            on_progress(done, file.size_bytes)
    if digest.hexdigest() != file.sha256:
        raise DamagedDownloadError(
            f"{file.name!r} arrived damaged: {done} bytes, not the {file.size_bytes} that the server stored"
        )


def _shorten(name: str) -> str:
    """Cut a long name before its suffix."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = Path(name).suffix if len(Path(name).suffix.encode()) <= MAX_NAME_BYTES // 4 else ""
    room = MAX_NAME_BYTES - len(suffix.encode())
    return name.encode()[:room].decode("utf-8", "ignore") + suffix
