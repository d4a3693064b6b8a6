"""Whose turn it is."""

import random
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest

from service.queues.turns import Turns


def turns(weights: dict[str, int], count: int) -> str:
    """Return the first turns of those who all stand in line from the first to the last."""
    line = Turns()
    return "".join(line.next(weights) for _ in range(count))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"a": 1}, "aaa"),
        ({"a": 1, "b": 1}, "ababab"),
        ({"a": 1, "b": 1, "c": 1}, "abcabcabc"),
        ({"a": 2, "b": 1}, "abaabaaba"),
        ({"a": 3, "b": 1, "c": 1}, "aabcaaabcaaabc"),
        ({"a": 7, "b": 1}, "aaaaaab" + "aaaaaaab" * 2),
        ({"a": 100, "b": 100}, "abab"),
    ],
)
def test_the_order_of_turns_is_exactly_as_computed(weights, expected):
    assert turns(weights, len(expected)) == expected


def test_in_the_long_run_each_has_its_part():
    weights = {"a": 5, "b": 3, "c": 2}
    assert Counter(turns(weights, 10_000)) == {"a": 5000, "b": 3000, "c": 2000}


def test_who_comes_has_its_turn_before_who_has_just_had_one():
    line = Turns()
    assert [line.next({"a": 1}), line.next({"a": 1, "b": 1})] == ["a", "b"]


def test_who_was_away_has_saved_up_nothing():
    line = Turns()
    for _ in range(100):
        line.next({"a": 1, "c": 1})
    both = {"a": 1, "b": 1, "c": 1}
    assert sorted(Counter(line.next(both) for _ in range(6)).values()) == [2, 2, 2]


def test_who_comes_again_and_again_has_no_more_turns_than_who_stays():
    line = Turns()
    taken = [line.next({"a": 1})]
    for _ in range(50):
        one = line.next({"a": 1, "b": 1})
        taken.append(one)
        if one == "b":  # it leaves with every turn of its own
            taken.append(line.next({"a": 1}))
    assert "bb" not in "".join(taken)


@pytest.mark.parametrize("seed", range(200))
def test_while_one_waits_no_other_has_more_turns_than_the_weights_say(seed):
    """Whoever comes and goes meanwhile: at most the quotient of their weights, rounded up."""
    rng = random.Random(seed)
    weights = {name: rng.choice([1, 1, 2, 3, 7, 50, 99, 100]) for name in "abcdefg"}
    line, standing = Turns(), set[str]()
    passed: dict[str, Counter[str]] = {}  # for each that waits, who had turns since it came
    for _ in range(300):
        standing ^= {name for name in weights if rng.random() < rng.choice([0.02, 0.3])}
        standing = standing or {rng.choice("abcdefg")}
        passed = {name: passed.get(name, Counter()) for name in standing}
        chosen = line.next({name: weights[name] for name in sorted(standing, key=lambda _: rng.random())})
        assert chosen in standing
        passed.pop(chosen)
        for name, others in passed.items():
            others[chosen] += 1
            assert others[chosen] <= ceil(Fraction(weights[chosen], weights[name])), (name, chosen)
