"""The headers of a download: ranges and validators (RFC 9110), and what keeps a hostile file harmless."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from service.errors import RangeNotSatisfiableError
from service.store.models import File

_RANGE = re.compile(r"bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII)
_MAX_NAME_CHARS = 200
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` up to `stop`."""

    start: int
    stop: int
    partial: bool = True

    @property
    def status(self) -> int:
        """The HTTP status that announces it."""
        return 206 if self.partial else 200

    def headers(self, size_bytes: int) -> dict[str, str]:
        """Return what says which bytes these are."""
        headers = {"Content-Length": str(self.stop - self.start)}
        if self.partial:
            headers["Content-Range"] = f"bytes {self.start}-{self.stop - 1}/{size_bytes}"
        return headers


def content_headers(file: File) -> dict[str, str]:
    """Return the headers of every answer with this file's bytes.

    A browser that gets the file can neither guess another type nor run anything in it.
    """
    return {
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": disposition(file.name),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def disposition(name: str) -> str:
    """Return `Content-Disposition` with the name in ASCII, and in full (RFC 6266, RFC 8187)."""
    bare = re.split(r"[/\\]", name)[-1].strip()[-_MAX_NAME_CHARS:]
    if not bare.strip("."):
        bare = "download"
    ascii_name = _UNSAFE.sub("_", bare)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(_printable(bare), safe='')}"


def is_current(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client has these bytes already."""
    known = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    return etag in known or known == ["*"]


def part_of(headers: Mapping[str, str], etag: str, size_bytes: int) -> Part | None:
    """Return the one range that the client asks for, or None for the whole.

    A header that is not a single range of bytes is ignored, as RFC 9110, section 14.2 allows. So is one that an
    empty file cannot satisfy although it begins at its begin: `curl -C -` and browsers ask for `bytes=0-` before
    they know the size, and nothing is all that there is.

    Raises:
        RangeNotSatisfiableError: the range begins beyond the end.
    """
    if headers.get("if-range", etag) != etag:
        return None
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(size_bytes - int(last), 0)
    stop = min(int(last) + 1, size_bytes) if first and last else size_bytes
    if start == size_bytes == 0:
        return None
    if start >= size_bytes:
        raise RangeNotSatisfiableError(size_bytes)
    return Part(start, stop)


def _printable(name: str) -> str:
    """Replace what could confuse a terminal or a file manager, the controls that turn text around too."""
    return "".join(char if char.isprintable() else "_" for char in name)
