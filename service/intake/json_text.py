"""JSON from strangers: only what can be stored and sent back as it came (RFC 8259, and I-JSON, RFC 7493)."""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import from_json, to_json

_MARK = "\ufeff".encode()
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BEGIN_BYTES = 4
_MOST_DOUBLES = 10
_TOKENS = b'":I'
_NO_TOKENS = bytes(set(range(256)) - set(_TOKENS))

Path = tuple[str, ...]


class DoubledKeysError(ValueError):
    """An object has a key twice: which of the two values is meant, nobody knows; `paths` are the first ten."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        super().__init__("; ".join(f"the key {dotted(path)[:200]} came twice" for path in paths))


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; a byte order mark before it is passed over (RFC 8259, section 8.1).

    Raises:
        DoubledKeysError: a key came twice in one object.
        ValueError: it is not JSON, or holds what has no JSON form: half of a surrogate pair, a number beyond a
            double such as 1e400, a whole number of more than 4,300 digits, NaN, nesting deeper than 200 levels.
    """
    raw = (text.encode() if isinstance(text, str) else text).removeprefix(_MARK)
    if raw.startswith(_OTHER_MARKS) or (isinstance(text, bytes) and b"\0" in raw[:_BEGIN_BYTES]):
        raise ValueError("it is UTF-16 or UTF-32; send it as UTF-8")
    value = _read(raw)
    # this runs on the event loop: no step of Python for each value, not even where there are a million
    kept = _tokens(to_json(value, inf_nan_mode="constants"))
    if b"I" in kept:  # of Infinity, which is what the parser rounds such a number to
        raise ValueError("a number in it is too large")
    if kept.count(b":") < _tokens(raw).count(b":"):
        raise DoubledKeysError(_first_doubled_keys(raw))
    return value


def _read(raw: bytes) -> Any:
    try:
        return from_json(raw, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        if "recursion limit" in str(error):
            raise ValueError("it is nested deeper than 200 levels") from None
        raise


def dotted(path: Path) -> str:
    """Return the place of a value as problems name it: `params.sizes.0`."""
    return ".".join(path)


def _tokens(raw: bytes) -> bytes:
    """Return what of `":I` stands outside of the strings of a JSON text: a colon for each key."""
    bare = raw.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in raw else raw
    return b"".join(bare.translate(None, _NO_TOKENS).split(b'"')[::2])


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of an object, doubled ones too."""


def _first_doubled_keys(raw: bytes) -> list[Path]:
    """Find the doubled keys, of which the parser keeps the last: Python's own shows them all, and is slow."""
    found = _doubled_keys(json.loads(raw, object_pairs_hook=_Pairs), ())
    return list(itertools.islice(found, _MOST_DOUBLES))


def _doubled_keys(value: Any, path: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for key, inner in value if isinstance(value, _Pairs) else _numbered(value):
        if key in seen:
            yield (*path, key)
        seen.add(key)
        yield from _doubled_keys(inner, (*path, key))


def _numbered(value: Any) -> Iterator[tuple[str, Any]]:
    return ((str(index), item) for index, item in enumerate(value if isinstance(value, list) else ()))
