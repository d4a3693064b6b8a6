"""Archives, entry by entry: zip, tar, tar.gz and tar.zst, without trust in what they say of themselves."""

import contextlib
import gzip
import lzma
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from service.catalogue.archive.names import danger_of
from service.processors.base import Fail, InputFile

PIECE_BYTES = 1024**2
MAX_HEADER_BYTES = 1024**2  # of one entry of a tar: long names and attributes, which are read into memory
MAX_DIRECTORY_BYTES = 64 * 1024**2  # of a zip, which is read into memory
MAX_PADDING_BYTES = 16 * 1024**2  # of a tar, after its last entry
BLOCK_BYTES = 512
_END_RECORD = struct.Struct("<4s4H2LH")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_END64_LOCATOR = struct.Struct("<4sLQL")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
_ENCRYPTED, _UTF8 = 0x1, 0x800
ENCRYPTED, UNKNOWN_COMPRESSION = "encrypted", "unknown compression"

Kind = Literal["file", "folder", "link", "device"]
Format = Literal["zip", "tar", "tar.gz", "tar.zst"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its name and size as the archive gives them, and what forbids to unpack it, if anything does."""

    name: str
    kind: Kind
    size_bytes: int
    danger: str | None
    source: Any

    def facts(self) -> dict[str, Any]:
        """Return what there is to say, as JSON; half a surrogate pair in the name is escaped."""
        name = self.name.encode("utf-8", "backslashreplace").decode()
        return {"name": name[:1000], "kind": self.kind, "size_bytes": self.size_bytes, "danger": self.danger}


class Archive:
    """An open archive. Entries come in their order; one can be read until the next is asked for."""

    def __init__(self, form: Format, entries: Iterator[Entry], open_entry: Any) -> None:
        self.format = form
        self.entries = entries
        self._open_entry = open_entry

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """Yield the bytes of the entry."""
        with self._open_entry(entry.source) as source:
            while piece := source.read(PIECE_BYTES):
                yield piece


@contextlib.contextmanager
def open_archive(file: InputFile) -> Iterator[Archive]:
    """Open the archive, of a format told by its first bytes.

    Raises:
        Fail: it is none, or broken; here or while it is read.
    """
    with file.path.open("rb") as source:
        head = source.read(BLOCK_BYTES)
    if not head:
        raise Fail(f"{file.name!r} is empty; send a zip, tar, tar.gz or tar.zst", code="empty_file")
    try:
        with _opened(file, head) as archive:
            yield archive
    except _BROKEN as error:
        _refuse(file, error)


_BROKEN: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    *(gzip.BadGzipFile, struct.error, ValueError, OverflowError, NotImplementedError, OSError),
)


def _refuse(file: InputFile, error: Exception) -> NoReturn:
    if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the archive's
        raise error
    why = str(error) or "it ends too early"
    raise Fail(f"{file.name!r} is broken: {why[:200]}; send it again", code="invalid_archive") from None


@contextlib.contextmanager
def _opened(file: InputFile, head: bytes) -> Iterator[Archive]:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with _open_zip(file) as archive:
            yield archive
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(file.path) as unpacked, _open_tar(file, "tar.gz", unpacked) as archive:
            yield archive
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        with _open_zstd(file.path) as plain, _open_tar(file, "tar.zst", plain) as archive:
            yield archive
    elif head[257:262] == b"ustar" or _is_old_tar(head):
        with file.path.open("rb") as plain, _open_tar(file, "tar", plain) as archive:
            yield archive
    elif zipfile.is_zipfile(file.path):  # one that unpacks itself begins with a program
        with _open_zip(file) as archive:
            yield archive
    else:
        message = f"{file.name!r} is not an archive that can be read; send a zip, tar, tar.gz or tar.zst"
        raise Fail(message, code="not_an_archive")


# ---- zip


@contextlib.contextmanager
def _open_zip(file: InputFile) -> Iterator[Archive]:
    _check_directory(file)
    with zipfile.ZipFile(file.path) as archive:
        yield Archive("zip", map(_zip_entry, archive.infolist()), archive.open)


def _zip_entry(info: zipfile.ZipInfo) -> Entry:
    mode, name = info.external_attr >> 16, _zip_name(info)
    kind: Kind = "file"
    if info.is_dir():
        kind = "folder"
    elif stat.S_ISLNK(mode):
        kind = "link"
    elif stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        kind = "device"
    danger = danger_of(name, kind)
    if danger is None and info.flag_bits & _ENCRYPTED:
        danger = ENCRYPTED
    if danger is None and info.compress_type not in _METHODS:
        danger = UNKNOWN_COMPRESSION
    return Entry(name, kind, info.file_size, danger, info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name; many programs write UTF-8 without the flag that says so."""
    if info.flag_bits & _UTF8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode()
    except UnicodeError:
        return info.orig_filename


def _check_directory(file: InputFile) -> None:
    """Refuse a zip whose table of contents, which is read whole, would fill the memory."""
    with file.path.open("rb") as source:
        end = source.seek(0, 2)
        tail_from = max(0, end - _END_RECORD.size - 65_535)
        source.seek(tail_from)
        tail = source.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END_RECORD.size:
            raise zipfile.BadZipFile("it has no table of contents, so it was cut off")
        size_bytes = _END_RECORD.unpack_from(tail, at)[5]
        size_bytes = max(size_bytes if size_bytes != 0xFFFFFFFF else 0, _directory64(source, tail, tail_from, at))  # noqa: PLR2004
    if size_bytes > MAX_DIRECTORY_BYTES:
        raise Fail(f"the table of contents of {file.name!r} is too large; split the archive", code="too_many_entries")


def _directory64(source: IO[bytes], tail: bytes, tail_from: int, at: int) -> int:
    """Return the size of the table of contents as the record of large archives has it, or 0 without one."""
    locator_at = at - _END64_LOCATOR.size
    if locator_at < 0 or not tail.startswith(b"PK\x06\x07", locator_at):
        return 0
    places = {_END64_LOCATOR.unpack_from(tail, locator_at)[2], tail_from + locator_at - _END64_RECORD.size}
    sizes = [0]
    for place in places:
        if place < tail_from + at:
            source.seek(max(0, place))
            record = source.read(_END64_RECORD.size)
            if len(record) == _END64_RECORD.size and record.startswith(b"PK\x06\x06"):
                sizes.append(_END64_RECORD.unpack(record)[8])
    return max(sizes)


# ---- tar


@contextlib.contextmanager
def _open_tar(file: InputFile, form: Format, plain: Any) -> Iterator[Archive]:
    metered = _Metered(file, plain)
    try:
        with tarfile.open(fileobj=metered, mode="r|", errorlevel=2) as archive:  # type: ignore[call-overload]
            yield Archive(form, _tar_entries(archive, metered), lambda info: _tar_source(archive, info))
    except tarfile.ReadError as error:
        if form == "tar" or metered.has_entries:
            raise
        message = f"{file.name!r} is compressed, but what is in it is no tar ({error}); send a tar.gz or tar.zst"
        raise Fail(message, code="not_an_archive") from None


def _tar_entries(archive: tarfile.TarFile, metered: "_Metered") -> Iterator[Entry]:
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
        metered.allow(info.size)
        yield _tar_entry(info)
    metered.finish()


def _tar_entry(info: tarfile.TarInfo) -> Entry:
    kind: Kind = "device"
    if info.isdir():
        kind = "folder"
    elif info.issym() or info.islnk():
        kind = "link"
    elif info.isfile() or info.issparse():
        kind = "file"
    return Entry(info.name, kind, info.size, "sparse" if info.issparse() else danger_of(info.name, kind), info)


def _tar_source(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    source = archive.extractfile(info)
    if source is None:
        raise tarfile.ReadError(f"{info.name!r} has no content")
    return source


class _Metered:
    """A stream that gives no more between two entries than the first of them and the header of the next need."""

    def __init__(self, file: InputFile, plain: Any) -> None:
        self._file = file
        self._plain = plain
        self._left = 0
        self.has_entries = False
        self.allow(0)
        self.has_entries = False

    def allow(self, entry_bytes: int) -> None:
        self.has_entries = True
        self._left = entry_bytes + MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        piece: bytes = self._plain.read(size)
        self._left -= len(piece)
        if self._left < 0:
            message = f"an entry of {self._file.name!r} has a header of more than {MAX_HEADER_BYTES:,} bytes"
            raise Fail(message, code="header_too_large")
        return piece

    def finish(self) -> None:
        """Read what follows the last entry: only then has the compression's checksum been compared."""
        while self._plain.read(PIECE_BYTES):
            self._left -= PIECE_BYTES
            if self._left < -MAX_PADDING_BYTES:
                raise tarfile.ReadError("more follows after its end")


def _is_old_tar(head: bytes) -> bool:
    """Tell a tar of before POSIX by the checksum of its first header."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


@contextlib.contextmanager
def _open_zstd(path: Path) -> Iterator[Any]:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only needed for this format
    else:
        from backports import zstd  # noqa: PLC0415
    try:
        with zstd.open(path) as plain:
            yield plain
    except zstd.ZstdError as error:
        raise tarfile.ReadError(str(error)) from None
