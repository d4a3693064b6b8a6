"""Time, as a seam."""

from datetime import UTC, datetime, timedelta

from service.clock import SystemClock, later
from tests.fakes import FakeClock


def test_the_clock_of_the_machine_tells_aware_utc():
    before = datetime.fromtimestamp(0, UTC)
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert now > before


def test_monotonic_seconds_never_run_backwards():
    clock = SystemClock()
    seconds = [clock.monotonic() for _ in range(1000)]
    assert seconds == sorted(seconds)


def test_later_adds_seconds_and_takes_negative_ones():
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    assert later(instant, 1.5) == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert later(instant, -1) == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_the_clock_of_the_tests_moves_only_when_it_is_moved():
    clock = FakeClock()
    before = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == before
    clock.advance(2.5)
    assert clock.now() - before[0] == timedelta(seconds=2.5)
    assert clock.monotonic() - before[1] == 2.5
