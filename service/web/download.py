"""The headers of a download: ranges and validators (RFC 9110), and what keeps a hostile file harmless."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote

from starlette.datastructures import Headers

from service.errors import PreconditionFailedError, RangeNotSatisfiableError
from service.store.models import File

_RANGE = re.compile(r"bytes\s*+=[\s,]*+(\d{0,100})\s*+-\s*+(\d{0,100})[\s,]*+", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')
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
        "Last-Modified": format_datetime(_second_of(file.created_at), usegmt=True),
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


def is_current(headers: Headers, sent: Mapping[str, str]) -> bool:
    """Whether the client has these bytes already; `sent` are the headers that they would come with."""
    if "if-none-match" in headers:
        known = _joined(headers, "if-none-match")
        return known.strip() == "*" or sent["ETag"] in {tag.removeprefix("W/") for tag in _TAG.findall(known)}
    return _is_since(headers.get("if-modified-since"), sent)


def require_wanted(headers: Headers, sent: Mapping[str, str]) -> None:
    """Raise `PreconditionFailedError` where the client wants other bytes than these (RFC 9110, section 13.2.2)."""
    if "if-match" in headers:
        wanted = _joined(headers, "if-match")
        is_wanted = wanted.strip() == "*" or sent["ETag"] in _TAG.findall(wanted)
    else:
        unchanged_since = headers.get("if-unmodified-since")
        is_wanted = _instant(unchanged_since) is None or _is_since(unchanged_since, sent)
    if not is_wanted:
        raise PreconditionFailedError(f"its ETag is {sent['ETag']}, and it was stored {sent['Last-Modified']}")


def part_of(headers: Headers, sent: Mapping[str, str], size_bytes: int) -> Part | None:
    """Return the one range that the client asks for, or None for the whole.

    A header that is not a single range of bytes is ignored, as RFC 9110, section 14.2 allows. So is one that an
    empty file cannot satisfy although it begins at its begin: `curl -C -` and browsers ask for `bytes=0-` before
    they know the size, and nothing is all that there is.

    Raises:
        RangeNotSatisfiableError: the range begins beyond the end.
    """
    if headers.get("if-range", sent["ETag"]) not in {sent["ETag"], sent["Last-Modified"]}:
        return None
    found = _RANGE.fullmatch(_joined(headers, "range"))
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


def _joined(headers: Headers, name: str) -> str:
    """Return a header that is a list, whichever way it came."""
    return ", ".join(headers.getlist(name))


def _is_since(instant: str | None, sent: Mapping[str, str]) -> bool:
    """Whether the bytes have been the same since then; a date that is none says nothing."""
    since = _instant(instant)
    return since is not None and parsedate_to_datetime(sent["Last-Modified"]) <= since


def _instant(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _second_of(instant: datetime) -> datetime:
    """Return the second after which nothing has changed; dates of HTTP know no parts of it."""
    return instant.astimezone(UTC).replace(microsecond=0)
