"""When to try again: exponential backoff with full jitter.

The delay before attempt n+1 is drawn evenly from zero to `base * 2**(n-1)`, and never passes the cap.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from collections.abc import Callable

_MAX_DOUBLINGS = 60


def backoff_s(attempt: int, base_s: float, cap_s: float, draw: Callable[[], float]) -> float:
    """Return the delay in seconds after the failed `attempt` (from 1); `draw` gives numbers from 0 to 1."""
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
    return ceiling * draw()
