"""Which encoding a file of text has, and its characters, piece by piece."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.processors.base import Fail, InputFile

if TYPE_CHECKING:
    from charset_normalizer.models import CharsetMatch

PIECE_BYTES = 1024**2
_SAMPLE_BYTES = 128 * 1024
_BOMS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_FALLBACK, _FALLBACK_CODEC = "windows-1252", "cp1252"  # the same one, as people and as Python call it
# Encodings that people save files in; of all that Python knows, a guess would too often name an exotic one.
_PLAUSIBLE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
)
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding by its Python name; `bom_bytes` is the length of the mark that the file begins with."""

    name: str
    bom_bytes: int = 0
    is_certain: bool = True

    @property
    def is_utf8(self) -> bool:
        """Whether the bytes after the mark are UTF-8, of which ASCII is a part."""
        return self.name in {"utf-8", "ascii"} and self.is_certain


def find_encoding(file: InputFile) -> Encoding:
    """Return the encoding: by its mark, by being valid UTF-8, else the likeliest by its letters.

    The file is read once, in pieces.

    Raises:
        Fail: it is not text.
    """
    with file.path.open("rb") as source:
        head = source.read(_SAMPLE_BYTES)
    for bom, name in _BOMS.items():
        if head.startswith(bom):
            return Encoding(name, len(bom))
    if b"\0" in head:
        return _without_mark(file, head)
    if sum(byte in _CONTROL for byte in head) > len(head) // 20:
        raise _not_text(file)
    return _utf8(file.path) or _guess(head)


def named_encoding(name: str) -> Encoding:
    """Return the encoding of that name.

    Raises:
        Fail: there is none.
    """
    try:
        "".encode(name)
    except (LookupError, ValueError):
        message = f"there is no text encoding {name!r}; name one such as utf-8, windows-1252 or shift_jis"
        raise Fail(message, code="unknown_encoding") from None
    return Encoding(codecs.lookup(name).name)


def characters(path: Path, encoding: Encoding) -> Iterator[str]:
    """Yield the text in pieces of about a MiB; bytes that make no sense become U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding.name)(errors="replace")
    with path.open("rb", buffering=0) as source:
        source.seek(encoding.bom_bytes)
        while piece := source.read(PIECE_BYTES):
            yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _utf8(path: Path) -> Encoding | None:
    """Return UTF-8 or ASCII if the whole file is; one that ends amid a character was cut off, and is it too."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_ascii = True
    with path.open("rb", buffering=0) as source:
        try:
            while piece := source.read(PIECE_BYTES):
                decoder.decode(piece)
                is_ascii = is_ascii and piece.isascii()
        except UnicodeDecodeError:
            return None
    rest, _ = decoder.getstate()
    return Encoding("ascii" if is_ascii else "utf-8", is_certain=not rest)


def _without_mark(file: InputFile, head: bytes) -> Encoding:
    """Tell UTF-16 from binary data: of Latin letters every second byte is zero, on one side only."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if len(head) % 2 == 0 and max(even, odd) > len(head) // 5 and min(even, odd) <= max(even, odd) // 20:
        return Encoding("utf-16-be" if even > odd else "utf-16-le", is_certain=False)
    raise _not_text(file)


def _guess(head: bytes) -> Encoding:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - large tables, for files of old encodings only

    found = list(from_bytes(head, cp_isolation=list(_PLAUSIBLE)))
    if not found or _is_as_likely(_FALLBACK_CODEC, found) or str(found[0]) == head.decode(_FALLBACK_CODEC, "replace"):
        return Encoding(_FALLBACK, is_certain=False)
    return Encoding(found[0].encoding, is_certain=False)


def _is_as_likely(name: str, found: Sequence["CharsetMatch"]) -> bool:
    """Return whether nothing speaks for the first guess against the encoding of that name."""
    first = (found[0].chaos, -found[0].coherence)
    return any(one.encoding == name and (one.chaos, -one.coherence) <= first for one in found)


def _not_text(file: InputFile) -> Fail:
    return Fail(f"{file.name!r} is not a text file: it holds binary data; send text in any encoding", code="not_text")
