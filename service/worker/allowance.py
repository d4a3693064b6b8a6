"""How much may pass: a burst, and then so much a second, up to a total. The limiter of notes and of output."""

from collections.abc import Callable


class Allowance:
    """A token bucket; `monotonic` tells the seconds. What is not spent is saved up to `burst`."""

    def __init__(self, burst: float, per_s: float, monotonic: Callable[[], float], total: float | None = None) -> None:
        self._burst = burst
        self._per_s = per_s
        self._monotonic = monotonic
        self._total = float("inf") if total is None else total
        self._saved = burst
        self._at = monotonic()

    @property
    def left(self) -> float:
        """How much may pass now."""
        now = self._monotonic()
        self._saved = min(self._burst, self._saved + (now - self._at) * self._per_s)
        self._at = now
        return min(self._saved, self._total)

    def take(self, amount: float = 1) -> bool:
        """Spend so much, if it is there."""
        if self.left < amount:
            return False
        self._saved -= amount
        self._total -= amount
        return True
