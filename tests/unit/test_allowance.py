"""How much may pass."""

from service.worker.allowance import Allowance
from tests.fakes import FakeClock


def test_a_burst_may_pass_and_after_that_so_much_a_second():
    clock = FakeClock()
    allowance = Allowance(3, 2, clock.monotonic)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.5)
    assert [allowance.take() for _ in range(2)] == [True, False]


def test_no_more_than_a_burst_is_saved_up():
    clock = FakeClock()
    allowance = Allowance(3, 2, clock.monotonic)
    clock.advance(1000)
    assert allowance.left == 3


def test_what_is_too_much_is_not_taken_in_part():
    allowance = Allowance(3, 2, FakeClock().monotonic)
    assert not allowance.take(4)
    assert allowance.take(3)


def test_the_total_is_the_end():
    clock = FakeClock()
    allowance = Allowance(3, 2, clock.monotonic, total=4)
    assert allowance.take(3)
    clock.advance(1000)
    assert allowance.left == 1
    assert allowance.take()
    clock.advance(1000)
    assert not allowance.take()
