"""The feed holds no more than it has room for, in events and in bytes."""

from typing import Any

import pytest

from service.states import Move
from service.store import feed as module
from service.store.events import MOST_CHARS, log_event
from service.store.feed import Feed, JobEvent, Listener
from service.store.records import Advance, Settlement
from tests.integration.stores import WORKER, at

KIB = 1024


@pytest.fixture
async def told(store):
    """Return a job with 40 log lines of 4,000 bytes."""
    job = await store.running()
    lines = tuple(log_event(job.id, 1, at(1), f"{number:04}" + "x" * 3996, {}) for number in range(40))
    assert await store.jobs.advance(Advance(job.id, WORKER, 1, lines))
    return job.id


@pytest.mark.parametrize("of_one_job", [True, False])
async def test_a_page_of_events_is_bounded_in_bytes_and_pages_follow_each_other(store, told, monkeypatch, of_one_job):
    monkeypatch.setattr(module, "PAGE_BYTES", 20 * KIB)
    feed, pages = Feed(store.database), []
    after = 0
    while page := await feed._read_page(after, None, told if of_one_job else None):
        pages.append(page)
        after = page[-1].id
    assert [event.id for page in pages for event in page] == list(range(1, 43))
    assert [event.data["message"][:4] for page in pages for event in page if event.kind == "log"] == [
        f"{n:04}" for n in range(40)
    ]
    assert all(sum(event.size_bytes for event in page[:-1]) < 20 * KIB for page in pages)
    assert len(pages) == 7


async def test_an_event_that_is_larger_than_a_page_is_read_alone(store, told, monkeypatch):
    monkeypatch.setattr(module, "PAGE_BYTES", 1)
    assert [event.id async for event in Feed(store.database).read(0, 20, told)] == list(range(1, 21))
    assert len(await Feed(store.database)._read_page(0, None, None)) == 1


def event_of(number, size_bytes):
    return JobEvent(number, "job", "t.one", at(0), "log", 1, {}, size_bytes)


async def test_a_listener_whose_events_weigh_too_much_is_let_go():
    listener = Listener(lambda _: True, capacity=1000, capacity_bytes=100)
    for number in range(10):
        listener.take(event_of(number, 10))
    assert not listener.ended
    first: Any = await listener.next(0)
    assert first.id == 0
    listener.take(event_of(10, 10))  # there is room again
    listener.take(event_of(11, 10))
    ended: Any = listener
    assert ended.ended
    assert await listener.next(0) is None


async def test_one_event_is_taken_however_large_it_is():
    listener = Listener(lambda _: True, capacity=1000, capacity_bytes=100)
    listener.take(event_of(1, 5000))
    taken: Any = await listener.next(0)
    assert taken.id == 1


async def test_what_an_event_says_is_bounded_when_it_is_written(store):
    job = await store.running()
    error = {"code": "x" * 100_000, "message": "y" * 100_000}
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.FAIL, at(1), error=error))
    last = (await store.jobs.list_events(job.id))[-1]
    assert {name: len(text) for name, text in last.data["error"].items()} == {"code": MOST_CHARS, "message": MOST_CHARS}
    assert len(log_event(job.id, 1, at(1), "z" * 100_000, {})["data"]["message"]) == MOST_CHARS
