"""What processors say and return, as text and JSON that can be stored and read again."""

import itertools
import json
from typing import Any

from pydantic_core import from_json

MAX_MESSAGE_CHARS = 2000
MAX_NESTING = 200  # as of params: what reads JSON in Rust goes no deeper
TOO_DEEP = f"it is nested deeper than {MAX_NESTING} levels"


def plain_text(said: object, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Return the start of what a processor said, as text that can be stored: a file name may hold any bytes."""
    try:
        text = str(said)
    except BaseException:  # noqa: BLE001 - a `__str__` may raise whatever it likes
        text = f"<{type(said).__name__}>"
    return text[:limit].encode(errors="replace").decode()


def plain_fields(fields: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the fields of a log line as JSON can hold them: what is not JSON as its `repr`, and nothing too large."""
    try:
        text = json.dumps(fields, default=_spelled_out, allow_nan=False, ensure_ascii=False)
        plain = read_back(text) if len(text.encode()) <= limit else {"cut": True}
    except UnicodeEncodeError:  # half a surrogate pair
        plain = {"cut": True}
    except BaseException:  # noqa: BLE001 - the classes of the values may raise anything
        plain = {plain_text(name): _spelled_out(value) for name, value in fields.items()}
    return plain if len(json.dumps(plain)) <= limit else {"cut": True}


def _spelled_out(value: object) -> str:
    try:
        return ascii(value)
    except BaseException:  # noqa: BLE001 - as `str` above
        return f"<{type(value).__name__}>"


def read_back(text: str) -> Any:
    """Return the value of a JSON text that was written here, as whoever asks for the job will see it.

    Raises:
        ValueError: that is not what was written, or nested too deep for those who are to read it.
    """
    try:
        value = from_json(text, cache_strings="none")
    except ValueError:
        raise ValueError(TOO_DEEP) from None
    if json.dumps(value, ensure_ascii=False) != text:
        json.loads(text, object_pairs_hook=_distinct)
        raise ValueError("it reads back as something else")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    keys = sorted(key for key, _ in pairs)
    for one, next_one in itertools.pairwise(keys):
        if one == next_one:
            raise ValueError(f"two keys of a dictionary become the same text, {one!r}")
