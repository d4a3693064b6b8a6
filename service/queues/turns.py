"""Whose turn it is: weighted round robin."""

import math
from collections.abc import Mapping

_ROUND = math.lcm(*range(1, 101))  # weights up to 100 divide it: nothing is rounded


class Turns:
    """Gives turns to those who stand in line.

    Who comes gets a number: that of the last turn, and one round divided by its weight. The lowest number is next, of
    equal ones the one that has waited longest. So, while one waits, another has at most as many turns as its weight
    divided by that of the one who waits, rounded up; and who has nothing to do saves up nothing. This is self-clocked
    fair queueing (Golestani, INFOCOM 1994) with jobs that count the same, for nobody knows how long one will take.
    """

    def __init__(self) -> None:
        self._now = 0
        self._numbers: dict[str, int] = {}  # of those who stood in line and had no turn, in the order they came
        self._last = ""

    def next(self, weights: Mapping[str, int]) -> str:
        """Return whose turn it is of all who stand in line now, given with their weights: one at least."""
        numbers = {name: number for name, number in self._numbers.items() if name in weights}
        for name, weight in weights.items():
            if name != self._last:
                numbers.setdefault(name, self._now + _ROUND // weight)
        if self._last in weights:  # comes behind those that came since its turn
            numbers[self._last] = self._now + _ROUND // weights[self._last]
        self._last = min(numbers, key=numbers.__getitem__)
        self._now = numbers.pop(self._last)
        self._numbers = numbers
        return self._last
