"""Archives written piece by piece."""

import contextlib
import functools
import gzip
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from service.catalogue.archive.reading import PIECE_BYTES, Format
from service.processors.base import InputFile

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows
_FILE_MODE = 0o644

Progress = Callable[[float, str], None]


def write_archive(
    path: Path, form: Format, level: int, files: Sequence[tuple[str, InputFile]], progress: Progress
) -> None:
    """Write the files into an archive under the names given."""
    write = _write_zip if form == "zip" else _write_tar
    write(path, form, level, _Progressing(files, progress))


class _Progressing:
    """Input files, whose reading counts as progress."""

    def __init__(self, files: Sequence[tuple[str, InputFile]], progress: Progress) -> None:
        self._files = files
        self._progress = progress
        self._total = sum(file.size_bytes for _, file in files) or 1
        self._done = 0

    def opened(self) -> Iterator[tuple[str, int, "_Counted"]]:
        """Yield the name, the size and the bytes of each."""
        for name, file in self._files:
            with file.path.open("rb") as source:
                yield name, file.path.stat().st_size, _Counted(source, functools.partial(self._add, name))

    def _add(self, name: str, size_bytes: int) -> None:
        self._done += size_bytes
        self._progress(self._done / self._total, name)


class _Counted:
    """A file that tells how much of it is read."""

    def __init__(self, source: IO[bytes], tell: Callable[[int], None]) -> None:
        self._source = source
        self._tell = tell

    def read(self, size: int = PIECE_BYTES) -> bytes:
        piece = self._source.read(size)
        self._tell(len(piece))
        return piece


def _write_zip(path: Path, _form: Format, level: int, files: _Progressing) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, size_bytes, source in files.opened():
            info = zipfile.ZipInfo(name, _FIRST_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = _FILE_MODE << 16
            info.file_size = size_bytes
            with archive.open(info, "w", force_zip64=size_bytes > 2**31) as target:
                while piece := source.read():
                    target.write(piece)


def _write_tar(path: Path, form: Format, level: int, files: _Progressing) -> None:
    with (
        _compressed(path, form, level) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, size_bytes, source in files.opened():
            info = tarfile.TarInfo(name)
            info.size = size_bytes
            info.mode = _FILE_MODE
            archive.addfile(info, source)


@contextlib.contextmanager
def _compressed(path: Path, form: Format, level: int) -> Iterator[Any]:
    with path.open("wb") as raw:
        if form == "tar.gz":
            with gzip.GzipFile("", "wb", compresslevel=level, fileobj=raw, mtime=0) as stream:
                yield stream
        elif form == "tar.zst":
            with _zstd(raw, level) as stream:
                yield stream
        else:
            yield raw


def _zstd(raw: IO[bytes], level: int) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only needed for this format
    else:
        from backports import zstd  # noqa: PLC0415
    options = {zstd.CompressionParameter.compression_level: level, zstd.CompressionParameter.checksum_flag: 1}
    return zstd.ZstdFile(raw, "wb", options=options)  # type: ignore[call-overload]
