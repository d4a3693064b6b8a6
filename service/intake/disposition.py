"""The `Content-Disposition` of a part: which field it is, and what the client calls the file (RFC 7578, RFC 8187)."""

import binascii
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from service.intake.charsets import decode

_PARAM = re.compile(rb""";\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"(?=\s*(?:;|$))|[^;]*)""", re.DOTALL)
_QUOTED_PAIR = re.compile(rb'\\(["\\])')
_WORD = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)
_WORDS = re.compile(rf"(?:{_WORD.pattern}\s*)+", re.IGNORECASE)
_EXTENDED = re.compile(rb"([^']+)'[^']*'(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Disposition:
    """The name of the field, None where it has none; `filename` is None for a field that is no file."""

    name: str | None
    filename: str | None


def parse_disposition(header: bytes) -> Disposition:
    """Read the header of a part; what is not `form-data` has no name.

    A name is taken as it comes, UTF-8 where it can be. `filename*` is not for forms, but some clients send it: as
    in any other header, it wins over `filename` (RFC 6266, section 4.3). Nor are encoded words (RFC 2047) and names
    in several pieces (RFC 2231), but libraries made for mail send both.
    """
    kind, _, _ = header.partition(b";")
    if kind.strip().lower() != b"form-data":
        return Disposition(None, None)
    params = _params(header)
    name = _extended(params.get(b"name*", b"")) or _without_words(_text(params.get(b"name")) or "")
    return Disposition(name or None, _filename(params))


def filename_of(header: bytes) -> str | None:
    """Return the file name in the `Content-Disposition` of a whole body, None where it gives none."""
    return _filename(_params(header))


def _params(header: bytes) -> dict[bytes, bytes]:
    params: dict[bytes, bytes] = {}
    for key, value in _PARAM.findall(header):
        params.setdefault(key.lower(), value)
    return params


def _filename(params: Mapping[bytes, bytes]) -> str | None:
    filename = _extended(params.get(b"filename*", b"") or b"".join(_continued(params)))
    if filename is None and b"filename" in params:
        filename = _without_words(_text(params[b"filename"]) or "")
    if filename is None:  # it is a file, though its name cannot be read
        filename = _text(params.get(b"filename*"))
    return filename


def _text(value: bytes | None) -> str | None:
    """Return a value without its quotes. A backslash escapes a quote or itself, and else is one, as browsers mean."""
    if value is None:
        return None
    bare = value.strip()
    if len(bare) > 1 and bare.startswith(b'"') and bare.endswith(b'"'):
        bare = _QUOTED_PAIR.sub(rb"\1", bare[1:-1])
    return bare.decode("utf-8", errors="replace")


def _extended(value: bytes) -> str | None:
    """Return an extended value (RFC 8187), or None where it is not one, or in a charset that is not read."""
    if (found := _EXTENDED.fullmatch(value.strip().strip(b'"'))) is None:
        return None
    raw = unquote_to_bytes(found[2])
    try:
        return decode(raw, found[1].decode("latin-1"))
    except UnicodeDecodeError:
        return raw.decode(errors="replace")
    except LookupError:
        return None


def _continued(params: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield the pieces of a name that came in several, so that they make one extended value."""
    for number in itertools.count():
        plain, extended = b"filename*%d" % number, b"filename*%d*" % number
        if number == 0 and plain in params:
            yield b"utf-8''"
        if extended in params:
            yield params[extended].strip().strip(b'"')
        elif plain in params:
            yield quote_from_bytes((_text(params[plain]) or "").encode()).encode()
        else:
            return


def _without_words(name: str) -> str:
    """Return a name whose words are all encoded as plain text; any other stays as it is."""
    if not _WORDS.fullmatch(name.strip()):
        return name
    words = itertools.groupby(_WORD.finditer(name), key=lambda word: word[1].lower())
    try:  # a character may begin in one word and end in the next
        return "".join(decode(b"".join(map(_word_bytes, run)), charset) for charset, run in words)
    except (ValueError, LookupError):
        return name


def _word_bytes(word: re.Match[str]) -> bytes:
    if word[2].lower() == "q":
        return binascii.a2b_qp(word[3], header=True)
    return binascii.a2b_base64(word[3] + "=" * (-len(word[3]) % 4), strict_mode=True)
