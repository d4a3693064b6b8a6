"""What a file is, by its bytes."""

from dataclasses import dataclass
from functools import cache
from typing import Any

HEAD_BYTES = 8192
EMPTY = "application/x-empty"
PDF = "application/pdf"
_PDF_MARK_BYTES = 1024 + len(b"%PDF-")
UNKNOWN = "application/octet-stream"
_TEXT_CONFIDENCE = 0.5  # it is text, and nothing says of which kind
_HALF_SURE = 40  # the strength of a match of about four bytes


@dataclass(frozen=True, slots=True)
class Guess:
    """What a file may be. `confidence` goes from 0 to 1, and grows with how much of the content had to match."""

    media_type: str
    description: str
    extensions: tuple[str, ...]
    confidence: float


def sniff(head: bytes) -> str:
    """Return the media type of a file that begins with these bytes, by the rules of libmagic.

    Neither the client's word nor the file's name has a say. It takes up to a millisecond: call it off the loop.
    """
    if not head:
        return EMPTY
    return _beyond_the_start(head, _database().best_magic_buffer(head).mime_type or UNKNOWN)


def _beyond_the_start(head: bytes, found: str) -> str:
    """Tell a PDF by its mark within the first 1,024 bytes, where readers look for it (ISO 32000-1, annex H.3.4.1)."""
    is_vague = found in {UNKNOWN, "text/plain"}
    return PDF if is_vague and b"%PDF-" in head[:_PDF_MARK_BYTES] else found


def guesses(head: bytes) -> list[Guess]:
    """Return what a file that begins with these bytes may be, each media type once, the most likely first."""
    if not head:
        return [Guess(EMPTY, "empty", (), 1.0)]
    found: dict[str, Guess] = {}
    for magic in [_database().best_magic_buffer(head), *_database().all_magics_buffer(head)]:
        guess = _guess(magic)
        found.setdefault(guess.media_type, guess)
    return list(found.values())


def _guess(magic: Any) -> Guess:
    media_type = magic.mime_type or UNKNOWN
    if magic.strength > 0:
        confidence = round(magic.strength / (magic.strength + _HALF_SURE), 2)
    else:
        confidence = _TEXT_CONFIDENCE if media_type.startswith("text/") else 0.0
    return Guess(media_type, magic.message, tuple(sorted(magic.extensions)), confidence)


@cache
def _database() -> Any:
    from pure_magic_rs import MagicDb  # noqa: PLC0415 - only who sniffs pays for it

    return MagicDb()
