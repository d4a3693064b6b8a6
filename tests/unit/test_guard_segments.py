"""The look for shared memory of a child that runs: it holds up neither the loop nor the watch."""

import asyncio
import os
import threading
from typing import Any

import pytest

from service.worker import guard as guards
from service.worker import segments as segments_module
from service.worker.guard import Guard
from service.worker.segments import Segment, Segments


class Censuses:
    """Stands for the look at all processes; `many` is set when a good number were taken."""

    def __init__(self) -> None:
        self.taken = 0
        self.many = asyncio.Event()

    async def family_of(self, _pid: int) -> dict[int, Any]:
        self.taken += 1
        if self.taken == 5:
            self.many.set()
        return {}


class Hanging:
    """Stands for segments; a look hangs until it is let go, but for one on the loop, which would hang the test."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.let_go = threading.Event()

    def look(self, _pids: Any) -> None:
        self.threads.append(threading.current_thread())
        if threading.current_thread() is not threading.main_thread():
            self.let_go.wait(60)


async def test_a_look_that_hangs_holds_nobody_up_and_is_not_begun_again(monkeypatch):
    monkeypatch.setattr(guards, "LOOK_S", 0)
    census: Any = Censuses()
    guard = Guard(census, os.getpid(), os.getpid(), None, None)
    segments: Any = Hanging()
    guard.segments = segments
    watch = asyncio.create_task(guard.watch())
    try:
        async with asyncio.timeout(30):
            await census.many.wait()
        assert len(segments.threads) == 1
        assert segments.threads[0] is not threading.main_thread()
    finally:
        segments.let_go.set()
        watch.cancel()


async def test_shared_memory_is_looked_for_before_the_first_second_is_over(monkeypatch):
    """For in the first one many crash, and of a dead process nothing tells what it held."""
    monkeypatch.setattr(guards, "LOOK_S", 0)
    monkeypatch.setattr(guards, "LOOKS_BETWEEN_CENSUSES", 2**62)
    guard = Guard(guards.Census(), os.getpid(), os.getpid(), None, None)
    segments: Any = Hanging()
    segments.let_go.set()
    guard.segments = segments
    watch = asyncio.create_task(guard.watch())
    try:
        async with asyncio.timeout(30):
            while not segments.threads:
                await asyncio.sleep(0)
    finally:
        watch.cancel()


@pytest.fixture
def asked(monkeypatch):
    """Return a list of the processes that were asked what they hold; there are segments of another program."""
    asked: list[int] = []
    present: dict[Segment, dict[str, str]] = {}

    def held_by(pid: int) -> list[tuple[str, str]]:
        asked.append(pid)
        return [("file", "2")] if pid == 20 else []

    monkeypatch.setattr(segments_module, "_present", lambda: dict(present))
    monkeypatch.setattr(segments_module, "_held_by", held_by)
    yield asked, present
    present.clear()


def test_of_a_segment_each_process_is_asked_once(asked):
    asked, present = asked
    segments = Segments()
    present[Segment("file", "foreign", 1)] = {}
    for _ in range(3):
        segments.look([10])
    assert asked == [10]
    present[Segment("file", "ours", 2)] = {}
    segments.look([10])
    segments.look([10, 20])  # one that has come to the family since
    segments.look([10, 20])
    assert asked == [10, 10, 20]
    assert {one.name for one in segments._ours} == {"ours"}
