"""When to try again."""

import random
from statistics import mean

import pytest

from service.worker.retry import backoff_s, loss_delay_s


@pytest.mark.parametrize(("attempt", "ceiling_s"), [(1, 2), (2, 4), (3, 8), (4, 16), (10, 1024), (11, 2048)])
def test_the_longest_delay_doubles_with_each_attempt(attempt, ceiling_s):
    assert backoff_s(attempt, 2, 3600, lambda: 1.0) == ceiling_s


def test_the_delay_never_passes_the_cap():
    assert [backoff_s(attempt, 2, 60, lambda: 1.0) for attempt in (5, 6, 7, 1000)] == [32, 60, 60, 60]


def test_a_very_high_attempt_is_no_overflow():
    assert backoff_s(10**9, 2, 3600, lambda: 1.0) == 3600


def test_the_shortest_delay_is_none_at_all():
    assert backoff_s(5, 2, 3600, lambda: 0.0) == 0


def test_the_delays_are_spread_evenly_over_all_that_is_allowed():
    rng = random.Random(1)
    delays = [backoff_s(3, 2, 3600, rng.random) for _ in range(4000)]
    quarters = [sum(low <= delay < low + 2 for delay in delays) for low in (0, 2, 4, 6)]
    assert all(900 < count < 1100 for count in quarters)
    assert 3.8 < mean(delays) < 4.2


def test_the_same_draw_gives_the_same_delay():
    assert backoff_s(4, 1, 100, lambda: 0.5) == backoff_s(4, 1, 100, lambda: 0.5) == 4


def test_the_first_loss_costs_no_time_and_each_later_one_more_up_to_a_cap():
    assert [loss_delay_s(losses, lambda: 1.0) for losses in (1, 2, 3, 4, 5, 100)] == [0, 2, 8, 30, 30, 30]
    assert [loss_delay_s(losses, lambda: 0.5) for losses in (1, 2, 3)] == [0, 1, 4]
