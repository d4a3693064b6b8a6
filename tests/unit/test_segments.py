"""Which shared memory is an attempt's, and which may be anybody's."""

import ctypes
import os
import secrets
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from service.worker.segments import Segments
from tests.integration.test_segments import left

pytestmark = pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm here")  # noqa: S108


@pytest.fixture
def name():
    return f"filemill-test-{secrets.token_hex(6)}"


def test_what_was_there_before_or_what_nobody_of_ours_holds_stays(name):
    before = SharedMemory(f"{name}-before", create=True, size=64)
    segments = Segments()
    during = SharedMemory(f"{name}-during", create=True, size=64)
    try:
        segments.look([os.getppid()])
        assert segments.remove(os.getpid()) == []
        segments.look([os.getpid()])
        assert segments.remove() == []  # this process goes on, and holds it
        segments.look([os.getpid()])
        assert segments.remove(os.getpid()) == [f"{name}-during"]
        assert (left([f"{name}-before"]), left([f"{name}-during"])) == ([f"{name}-before"], [])
    finally:
        for one in (before, during):
            one.close()
        before.unlink()
        _forget(during)


def test_a_name_that_was_used_again_is_not_the_segment_that_was_seen(name):
    segments = Segments()
    first = SharedMemory(name, create=True, size=64)
    segments.look([os.getpid()])
    first.close()
    first.unlink()
    keep_the_number_taken = SharedMemory(f"{name}-2", create=True, size=64)
    again = SharedMemory(name, create=True, size=64)
    try:
        assert segments.remove(os.getpid()) == []
        assert left([name]) == [name]
    finally:
        for one in (keep_the_number_taken, again):
            one.close()
            one.unlink()


def test_a_segment_of_system_v_is_known_by_its_maker():
    segments = Segments()
    number = ctypes.CDLL(None).shmget(0, 4096, 0o600)
    assert left([f"shm {number}"]) == [f"shm {number}"]
    segments.look([os.getppid()])
    assert segments.remove() == []
    segments.look([os.getpid()])
    assert len(segments.remove()) == 1
    assert left([f"shm {number}"]) == []


def _forget(segment):
    """Have the tracker of the tests forget what was unlinked behind its back."""
    resource_tracker.unregister(segment._name, "shared_memory")
