"""A job that kills the server comes to its end, and takes none of those with it that only ran beside it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.queues.base import Share
from service.queues.memory import MemoryQueue
from service.states import Move, State
from service.store.records import Claim, Settlement
from service.worker.rescuer import Rescuer
from service.worker.stager import STANDING_S, TICK_S, Stager
from tests.fakes import FakeClock
from tests.integration.stores import Store, at

PROCESSORS = ["t.one", "t.two"]
MAX_LOSSES = 5


def stager_of(store: Store, clock: FakeClock) -> Stager:
    queue = MemoryQueue({"loop": map(Share, PROCESSORS)}, 1000)
    return Stager(store.jobs, queue, PROCESSORS, 1000, clock, one_from=MAX_LOSSES - 1)


@dataclass
class Folder:
    """One data folder and the servers that die on it: the moment that a killer runs, all that runs beside it is lost.

    An innocent job succeeds once it has run for `ticks` in one go.
    """

    store: Store
    clock: FakeClock
    killers: set[str]
    ticks: int
    draw: Callable[[], float]
    lives: int = 0
    running: dict[str, int] = field(default_factory=dict)

    async def live(self) -> bool:
        """Live until a killer runs (True) or nothing is left to do."""
        self.lives += 1
        self.running.clear()
        await Rescuer(self.store.jobs, self.worker, self.clock, max_losses=MAX_LOSSES, draw=self.draw).rescue()
        stager = stager_of(self.store, self.clock)
        while self.store.sql("SELECT 1 FROM jobs WHERE state IN ('queued', 'running') LIMIT 1"):
            await stager.tick()
            await self.claim_all()
            if self.killers & self.running.keys():
                return True
            await self.run_on()
            self.clock.advance(TICK_S)
        return False

    @property
    def worker(self) -> str:
        return f"worker-{self.lives}"

    async def claim_all(self) -> None:
        for ready in await self.store.jobs.list_ready(PROCESSORS, 100):
            assert await self.store.jobs.claim(Claim(ready.id, self.worker, self.clock.now()))
            self.running[ready.id] = 0

    async def run_on(self) -> None:
        for job_id, ticks in list(self.running.items()):
            self.running[job_id] = ticks + 1
            if ticks + 1 >= self.ticks:
                del self.running[job_id]
                settlement = Settlement(job_id, self.worker, 1, Move.SUCCEED, self.clock.now())
                assert await self.store.jobs.settle(settlement)


DRAWS = {"all at once": lambda: 0.0, "at random": random.Random(1).random}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("ticks", [1, 6], ids=["short", "long"])
async def test_a_job_that_kills_the_server_whenever_it_runs_fails_alone(store, clock, ticks, draw):
    innocent = [await store.queued(processor="t.one") for _ in range(8)]
    killer = await store.queued(processor="t.two")
    innocent += [await store.queued(processor="t.one") for _ in range(8)]
    folder = Folder(store, clock, {killer}, ticks, draw)
    while await folder.live():
        assert folder.lives <= MAX_LOSSES, "it outlives its limit"
    row = (await store.jobs.get(killer)).job
    assert (row.state, row.error["code"], row.losses) == (State.FAILED, "worker_lost", MAX_LOSSES)
    assert {await store.state(job_id) for job_id in innocent} == {State.SUCCEEDED}


async def test_however_many_jobs_kill_the_server_each_death_fails_one_at_most(store, clock):
    killers = {await store.queued(processor="t.two") for _ in range(6)}
    innocent = [await store.queued(processor="t.one") for _ in range(6)]
    folder, failed = Folder(store, clock, killers, 1, random.Random(2).random), 0
    while await folder.live():
        now_failed = store.sql("SELECT count(*) FROM jobs WHERE state = 'failed'")[0][0]
        assert now_failed - failed <= 1
        failed = now_failed
        assert folder.lives <= MAX_LOSSES * len(killers), "they outlive their limit"
    assert {await store.state(job_id) for job_id in killers} == {State.FAILED}
    assert {await store.state(job_id) for job_id in innocent} <= {State.SUCCEEDED, State.FAILED}


# ---- the last chance


async def on_last_chance(store: Store, processor: str = "t.one") -> str:
    job = await store.running("dead", processor=processor)
    store.sql("UPDATE jobs SET losses = ? WHERE id = ?", MAX_LOSSES - 2, job.id)
    return job.id


async def test_jobs_on_their_last_chance_run_one_at_a_time_and_hold_up_nobody_else(store, clock):
    others = [await store.queued(delay_s=1), await store.queued(delay_s=1)]
    suspects = [await on_last_chance(store) for _ in range(3)]
    await store.rescue(at(0), max_losses=MAX_LOSSES)
    stager = stager_of(store, clock)
    clock.advance(STANDING_S)
    for number in range(3):
        await stager.tick()
        await stager.tick()
        ready = {one.id for one in await store.jobs.list_ready(["t.one"], 100)}
        assert len(ready & set(suspects)) == 1
        assert ready - set(suspects) == (set(others) if number == 0 else set())
        for job_id in ready:
            assert await store.jobs.claim(Claim(job_id, "alive", clock.now()))
        await stager.tick()
        assert await store.jobs.list_ready(["t.one"], 100) == []
        for job_id in ready:
            assert await store.jobs.settle(Settlement(job_id, "alive", 1, Move.SUCCEED, clock.now()))


async def test_a_server_that_is_killed_again_and_again_uses_up_nobodys_last_chance(store, clock):
    suspect = await on_last_chance(store)
    await store.rescue(at(0), max_losses=MAX_LOSSES)
    stager = stager_of(store, clock)
    for _ in range(20):
        stager = stager_of(store, clock)
        clock.advance(STANDING_S - 0.001)
        await stager.tick()
        assert await store.jobs.list_ready(["t.one"], 100) == []
    clock.advance(0.001)
    await stager.tick()
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 100)] == [suspect]


async def test_a_stop_keeps_the_turn_and_an_attempt_that_ends_passes_it_on(store, clock):
    suspects = [await on_last_chance(store) for _ in range(2)]
    await store.rescue(at(0), max_losses=MAX_LOSSES)
    stager = stager_of(store, clock)
    clock.advance(STANDING_S)
    await stager.tick()
    (first,) = await store.jobs.list_ready(["t.one"], 100)
    await store.jobs.claim(Claim(first.id, "alive", at(0)))
    await store.jobs.release("alive", at(0))
    await stager.tick()
    assert await store.jobs.list_ready(["t.one"], 100) == [first]
    await store.jobs.claim(Claim(first.id, "alive", at(0)))
    await store.jobs.settle(Settlement(first.id, "alive", 1, Move.BACK_OFF, at(0), run_after=at(60)))
    await stager.tick()
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 100)] == [
        one for one in suspects if one != first.id
    ]


async def test_a_job_that_nobody_here_runs_keeps_its_turn_from_nobody(store, clock):
    stranger = await on_last_chance(store, "t.gone")
    await store.rescue(at(0), max_losses=MAX_LOSSES)
    store.sql("UPDATE jobs SET scheduled = 0")  # it was ready when its processor was taken away
    suspect = await on_last_chance(store)
    second_stranger = await on_last_chance(store, "t.gone")
    await store.rescue(at(0), max_losses=MAX_LOSSES)
    stager = stager_of(store, clock)
    clock.advance(STANDING_S)
    await stager.tick()
    assert [one.id for one in await store.jobs.list_ready(["t.one"], 100)] == [suspect]
    assert {await store.state(job_id) for job_id in (stranger, second_stranger)} == {State.QUEUED}


async def test_a_last_chance_that_waits_for_its_turn_costs_no_commit(store, clock):
    await on_last_chance(store, "t.gone")
    await store.rescue(at(0), max_losses=MAX_LOSSES)
    stager = stager_of(store, clock)
    clock.advance(STANDING_S)
    before = store.writer.writes
    for _ in range(20):
        await stager.tick()
    assert store.writer.writes == before
