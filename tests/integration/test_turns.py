"""Processors share the places of their lane: none holds up another for longer than one attempt. Counted, not timed."""

import asyncio
import json
from pathlib import Path

import pytest

from service.intake.incoming import Incoming
from service.runtime import Runtime, open_runtime
from service.states import State

PROCESSORS = str(Path(__file__).parent / "turns_processors.py")
LIMIT_S = 60

pytestmark = pytest.mark.settings(processors=PROCESSORS, child_processes=1, queue_capacity=2)


async def submit(runtime: Runtime, processor: str, folder: Path, **params: object) -> str:
    asked = {"processor": processor, "params": {"folder": str(folder), **params}, "max_attempts": 100}
    body = json.dumps(asked).encode()

    async def pieces():
        yield body

    accepted = await runtime.intake.submit(Incoming("application/json", len(body), {}, pieces()))
    return accepted.record.job.id


async def ended(runtime: Runtime, *job_ids: str) -> set[str]:
    """Return the states of jobs at their end."""
    for job_id in job_ids:
        await runtime.jobs.wait(job_id, LIMIT_S)
    return {(await runtime.jobs.get(job_id)).job.state for job_id in job_ids}


async def begun(folder: Path, count: int) -> list[str]:
    """Return what has begun, in order, once there is so much."""
    path = folder / "begun"
    async with asyncio.timeout(LIMIT_S):
        while not path.exists() or len(path.read_text().splitlines()) < count:
            await asyncio.sleep(0.01)
    return path.read_text().splitlines()


async def test_when_a_place_is_free_a_quick_job_begins_before_the_rest_of_a_long_backlog(settings, tmp_path):
    async with open_runtime(settings) as runtime:
        for number in range(8):
            await submit(runtime, "turns.long", tmp_path, number=number)
        await begun(tmp_path, 1)
        quick = [await submit(runtime, "turns.quick", tmp_path) for _ in range(2)]
        for number in range(2):
            (tmp_path / f"{number}").touch()
        assert await ended(runtime, *quick) == {State.SUCCEEDED}
        order = await begun(tmp_path, 4)
        assert order[:2] == ["long 0", "quick"]
        assert order.count("quick") == 2  # after one long job more at most: the others may not end yet


async def test_so_it_is_after_a_restart_with_a_backlog_that_nobody_has_seen(settings, tmp_path):
    async with open_runtime(settings) as runtime:
        for number in range(8):
            await submit(runtime, "turns.long", tmp_path, number=number)
        quick = await submit(runtime, "turns.quick", tmp_path)
    (tmp_path / "begun").unlink(missing_ok=True)
    (tmp_path / "0").touch()
    async with open_runtime(settings) as runtime:
        assert await ended(runtime, quick) == {State.SUCCEEDED}
        assert "quick" in (await begun(tmp_path, 2))[:2]


@pytest.mark.settings(queue_capacity=100)
async def test_a_limited_processor_gets_its_turns_and_leaves_the_others_theirs(settings, tmp_path):
    async with open_runtime(settings) as runtime:
        await submit(runtime, "turns.long", tmp_path, number=0)
        await begun(tmp_path, 1)
        jobs = [await submit(runtime, f"turns.{name}", tmp_path) for name in ["quick"] * 3 + ["alone"] * 3]
        (tmp_path / "0").touch()
        assert await ended(runtime, *jobs) == {State.SUCCEEDED}
        order = await begun(tmp_path, 7)
        assert order[1:] in (["quick", "alone"] * 3, ["alone", "quick"] * 3)


@pytest.mark.parametrize("kind", ["snooze", "retry"])
async def test_a_job_that_asks_to_be_called_again_at_once_holds_no_place(settings, tmp_path, kind):
    async with open_runtime(settings) as runtime:
        await submit(runtime, "turns.restless", tmp_path, kind=kind)
        await begun(tmp_path, 2)
        others = [await submit(runtime, "turns.quick", tmp_path) for _ in range(2)]
        others += [await submit(runtime, "turns.restless", tmp_path, kind="content")]
        assert await ended(runtime, *others) == {State.SUCCEEDED}
