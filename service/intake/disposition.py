"""The `Content-Disposition` of a part: which field it is, and what the client calls the file (RFC 7578, RFC 8187)."""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_PARAM = re.compile(rb""";\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"(?=\s*(?:;|$))|[^;]*)""", re.DOTALL)
_QUOTED_PAIR = re.compile(rb'\\(["\\])')
_EXTENDED = re.compile(rb"(utf-8|iso-8859-1)'[^']*'(.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Disposition:
    """The name of the field, None where it has none; `filename` is None for a field that is no file."""

    name: str | None
    filename: str | None


def parse_disposition(header: bytes) -> Disposition:
    """Read the header of a part; what is not `form-data` has no name.

    A name is taken as it comes, UTF-8 where it can be. `filename*` is not for forms, but some clients send it: as
    in any other header, it wins over `filename` (RFC 6266, section 4.3).
    """
    kind, _, _ = header.partition(b";")
    if kind.strip().lower() != b"form-data":
        return Disposition(None, None)
    params: dict[bytes, bytes] = {}
    for key, value in _PARAM.findall(header):
        params.setdefault(key.lower(), value)
    filename = _extended(params.get(b"filename*", b""))
    return Disposition(
        _text(params.get(b"name")) or None, _text(params.get(b"filename")) if filename is None else filename
    )


def _text(value: bytes | None) -> str | None:
    """Return a value without its quotes. A backslash escapes a quote or itself, and else is one, as browsers mean."""
    if value is None:
        return None
    bare = value.strip()
    if len(bare) > 1 and bare.startswith(b'"') and bare.endswith(b'"'):
        bare = _QUOTED_PAIR.sub(rb"\1", bare[1:-1])
    return bare.decode("utf-8", errors="replace")


def _extended(value: bytes) -> str | None:
    """Return an extended value (RFC 8187), or None where it is not one."""
    found = _EXTENDED.fullmatch(value.strip().strip(b'"'))
    return None if found is None else unquote_to_bytes(found[2]).decode(found[1].decode(), errors="replace")
