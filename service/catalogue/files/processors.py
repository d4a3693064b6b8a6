"""Processors of files of any kind."""

import hashlib
import mimetypes
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from service.processors.base import JobContext, processor
from service.sniff import HEAD_BYTES, Guess, guesses

PIECE_BYTES = 1024**2

Algorithm = Literal["sha256", "blake2b", "md5", "crc32"]


@processor("file.checksum", reads_only=True)
def checksum(
    job: JobContext,
    *,
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, max_length=4)] = ("sha256",),
) -> dict[str, Any]:
    """Compute checksums of each file.

    A file is read once, in pieces, whatever its size. The digests are hexadecimal; md5 and crc32 are there to
    compare with old lists, not to rely on.

    Args:
        algorithms: Which checksums to compute, all in one reading.
    """
    total_bytes = sum(file.size_bytes for file in job.files) or 1
    done_bytes = 0
    files = []
    for file in job.files:
        digests = {name: _DIGESTS[name]() for name in algorithms}
        size_bytes = 0
        for piece in _pieces(file.path):
            for digest in digests.values():
                digest.update(piece)
            size_bytes += len(piece)
            job.progress((done_bytes + size_bytes) / total_bytes, file.name)
        done_bytes += size_bytes
        hexes = {name: digest.hexdigest() for name, digest in digests.items()}
        files.append({"name": file.name, "size_bytes": size_bytes, "digests": hexes})
    return {"files": files}


@processor("file.identify", reads_only=True)
def identify(job: JobContext) -> dict[str, Any]:
    """Tell what each file is by its content, whatever its name says.

    The confidence goes from 0 to 1, and grows with how much of the content had to match. What else the content
    may be is told as well. `name_agrees` is null where the name has no suffix, or the suffix is not known.
    """
    files = []
    for file in job.each_file():
        with file.path.open("rb") as opened:
            best, *others = guesses(opened.read(HEAD_BYTES))
        also = [{"media_type": one.media_type, "confidence": one.confidence} for one in others if one.confidence]
        files.append({"name": file.name, **asdict(best), "name_agrees": _agrees(file.name, best), "also": also})
    return {"files": files}


def _agrees(name: str, guess: Guess) -> bool | None:
    """Return whether the suffix of the name is one of this media type."""
    suffix = PurePosixPath(name).suffix.lower()
    named = mimetypes.types_map.get(suffix)
    if named is None:
        return None
    return suffix[1:] in guess.extensions or _plain(named) == _plain(guess.media_type)


def _plain(media_type: str) -> str:
    """Return the media type as it would be without its history: `audio/x-wav` and `audio/wav` are one."""
    return media_type.lower().replace("/x-", "/")


class _Digest(Protocol):
    def update(self, piece: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    """The checksum of zip, gzip and png, in the manner of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, piece: bytes, /) -> None:
        self._value = zlib.crc32(piece, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


_DIGESTS: dict[Algorithm, Callable[[], _Digest]] = {
    "sha256": hashlib.sha256,
    "blake2b": hashlib.blake2b,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "crc32": _Crc32,
}


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
