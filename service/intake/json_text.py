"""JSON from strangers: only what can be stored and sent back as it came (RFC 8259, and I-JSON, RFC 7493)."""

import math
from typing import Any

from pydantic_core import from_json


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or holds what has no JSON form: half of a surrogate pair, a number beyond a
            double such as 1e400, NaN, nesting deeper than 200 levels.
    """
    value = from_json(text, allow_inf_nan=False, cache_strings="none")
    _require_finite(value)
    return value


def _require_finite(value: Any) -> None:
    """Refuse what the parser rounds to infinity: nesting is bounded by now, so this may recurse."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number in it is too large")
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _require_finite(item)
