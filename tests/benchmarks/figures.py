"""Arithmetic on what was measured."""

import math
from collections.abc import Sequence

MILLI = 1000


def quantile(values: Sequence[float], fraction: float) -> float:
    """Return the value that `fraction` of the values do not exceed: the nearest rank, never a value in between."""
    ordered = sorted(values)
    return ordered[max(math.ceil(fraction * len(ordered)) - 1, 0)]


def ms(seconds: float) -> float:
    """Return milliseconds."""
    return seconds * MILLI
