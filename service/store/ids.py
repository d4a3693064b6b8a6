"""Ids: UUIDv7 (RFC 9562), which sort by the instant they were made."""

import re
from datetime import datetime

import uuid_utils

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_id() -> str:
    """Return an id later than every id that this process made before."""
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    """Whether the text has the shape of an id."""
    return _ID.fullmatch(text) is not None


def first_id_at(instant: datetime) -> str:
    """Return a bound: ids made at this instant or later are not below it, earlier ones are (to the millisecond)."""
    milliseconds = min(max(int(instant.timestamp() * 1000), 0), 2**48 - 1)
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"
