"""Figures are bounded, however many codes and processors there are: the rest is counted together."""

from service.clock import SystemClock
from service.states import Move
from service.store import stats as module
from service.store.records import Settlement
from service.store.stats import MOST_CODES, OTHERS, Stats
from tests.integration.stores import WORKER, at


async def fail(store, code):
    job = await store.running()
    await store.jobs.settle(Settlement(job.id, WORKER, 1, Move.FAIL, at(1), error={"code": code, "message": ""}))


async def test_the_most_frequent_codes_are_told_and_the_rest_is_counted_together(store):
    for number in range(MOST_CODES + 5):
        await fail(store, f"code_{number:03}")
    await fail(store, "code_024")
    await fail(store, "x" * 5000)
    await fail(store, "x" * 5000)
    found = await Stats(store.database, SystemClock()).count_failures(at(0))
    assert [(one.code, one.jobs) for one in found[:3]] == [("code_024", 2), ("x" * 100, 2), ("code_000", 1)]
    assert len(found) == MOST_CODES + 1
    assert (found[-1].code, found[-1].jobs) == (OTHERS, 6)
    assert sum(one.jobs for one in found) == MOST_CODES + 8


async def test_few_codes_are_all_told(store):
    assert await Stats(store.database, SystemClock()).count_failures(at(0)) == []
    await fail(store, "one")
    found = await Stats(store.database, SystemClock()).count_failures(at(0))
    assert [(one.code, one.jobs) for one in found] == [("one", 1)]


async def test_of_very_many_processors_the_smallest_are_counted_together(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_PROCESSORS", 3)
    for number in range(6):
        for _ in range(2 if number < 2 else 1):
            await store.queued(processor=f"t.p{number}")
    found = await Stats(store.database, SystemClock()).count()
    assert {one.processor: one.jobs for one in found} == {"t.p0": 2, "t.p1": 2, "t.p2": 1, OTHERS: 3}
