"""A job that finds a consumer idle is added and claimed in one commit; one that does not waits as any other."""

import json
from pathlib import Path

import pytest

from service.intake.incoming import Incoming
from service.runtime import Runtime, open_runtime
from service.states import State

CHILDREN = str(Path(__file__).parents[1] / "processors_for_tests.py")


async def submit(runtime: Runtime, processor: str, **fields: object) -> str:
    body = json.dumps({"processor": processor, **fields}).encode()

    async def pieces():
        yield body

    accepted = await runtime.intake.submit(Incoming("application/json", len(body), {}, pieces()))
    return accepted.record.job.id


def shared_commits(runtime: Runtime) -> float:
    """How many commits had more than one write."""
    alone = runtime.meters.registry.get_sample_value("filemill_commit_writes_bucket", {"le": "1.0"})
    every = runtime.meters.registry.get_sample_value("filemill_commit_writes_count")
    assert alone is not None
    assert every is not None
    return every - alone


async def to_end(runtime: Runtime, job_id: str) -> State:
    await runtime.jobs.wait(job_id, 30)
    return State((await runtime.jobs.get(job_id)).job.state)


async def shared_commits_for_a_job(runtime: Runtime) -> float:
    for _ in range(5):  # now the child is there, and the queue knows that the database holds no more
        assert await to_end(runtime, await submit(runtime, "t.echo")) is State.SUCCEEDED
    before = shared_commits(runtime)
    assert await to_end(runtime, await submit(runtime, "t.echo")) is State.SUCCEEDED
    return shared_commits(runtime) - before


async def test_an_idle_server_adds_and_claims_in_one_commit(settings):
    async with open_runtime(settings) as runtime:
        assert await shared_commits_for_a_job(runtime) >= 1


@pytest.mark.settings(processors=CHILDREN)
async def test_so_does_one_whose_job_is_for_a_child(settings):
    async with open_runtime(settings) as runtime:
        assert await shared_commits_for_a_job(runtime) >= 1


async def test_more_jobs_than_consumers_all_reach_their_end(settings):
    async with open_runtime(settings) as runtime:
        job_ids = [await submit(runtime, "t.echo") for _ in range(5 * settings.consumers)]
        assert {await to_end(runtime, job_id) for job_id in job_ids} == {State.SUCCEEDED}
