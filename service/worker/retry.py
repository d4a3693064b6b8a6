"""When to try again: exponential backoff with full jitter.

The delay before attempt n+1 is drawn evenly from zero to `base * 2**(n-1)`, and never passes the cap.
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

A job that the server died under does not wait after the first time: a server that was killed once goes on where it
was. Then it waits up to 2, 8 and 30 seconds: jobs that ran side by side meet less and less often, and a server that is
killed again and again has time to recover.
"""

from collections.abc import Callable

_MAX_DOUBLINGS = 60
_LOSS_BASE_S = 2.0
_LOSS_CAP_S = 30.0


def backoff_s(attempt: int, base_s: float, cap_s: float, draw: Callable[[], float]) -> float:
    """Return the delay in seconds after the failed `attempt` (from 1); `draw` gives numbers from 0 to 1."""
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
    return ceiling * draw()


def loss_delay_s(losses: int, draw: Callable[[], float]) -> float:
    """Return the delay in seconds after so many losses of the worker in a row (from 1)."""
    # two doublings for each loss
    return 0.0 if losses == 1 else backoff_s(2 * losses - 3, _LOSS_BASE_S, _LOSS_CAP_S, draw)
