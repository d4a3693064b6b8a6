"""What a file is, by its bytes."""

from functools import cache

from pure_magic_rs import MagicDb

HEAD_BYTES = 8192
EMPTY = "application/x-empty"
UNKNOWN = "application/octet-stream"


def sniff(head: bytes) -> str:
    """Return the media type of a file that begins with these bytes, by the rules of libmagic.

    Neither the client's word nor the file's name has a say. It takes up to a millisecond: call it off the loop.
    """
    if not head:
        return EMPTY
    return _database().best_magic_buffer(head).mime_type or UNKNOWN


@cache
def _database() -> MagicDb:
    return MagicDb()
