"""The events table: the whole life of a job, in order."""

from service.states import Move
from service.store.records import Claim, Settlement
from tests.integration.stores import WORKER, at


async def test_the_whole_life_of_a_job_is_written_down_with_attempts_and_moments(store):
    job_id = await store.queued(max_attempts=2)
    await store.jobs.claim(Claim(job_id, WORKER, at(1)))
    await store.jobs.settle(Settlement(job_id, WORKER, 1, Move.SNOOZE, at(2), run_after=at(2)))
    await store.jobs.claim(Claim(job_id, WORKER, at(3)))
    await store.rescue(at(4))
    await store.jobs.claim(Claim(job_id, WORKER, at(5)))
    await store.rescue(at(6), max_losses=2)
    await store.jobs.retry(job_id, at(7))
    await store.jobs.cancel(job_id, at(8))
    events = await store.jobs.list_events(job_id)
    assert [(event.data["reason"], event.data["state"], event.attempt, event.at) for event in events] == [
        ("submit", "queued", 0, at(0)),
        ("claim", "running", 1, at(1)),
        ("snooze", "queued", 1, at(2)),
        ("claim", "running", 1, at(3)),
        ("rescue", "queued", 1, at(4)),
        ("claim", "running", 1, at(5)),
        ("give_up", "failed", 1, at(6)),
        ("retry", "queued", 1, at(7)),
        ("cancel", "cancelled", 1, at(8)),
    ]


async def test_an_event_says_how_often_the_server_died_under_the_job_and_when_it_runs_again(store):
    job = await store.running()
    await store.rescue(at(1))
    await store.jobs.claim(Claim(job.id, WORKER, at(2)))
    await store.rescue(at(3), delay_s=7)
    first, second = [event.data for event in await store.jobs.list_events(job.id) if event.data["reason"] == "rescue"]
    assert first == {"state": "queued", "reason": "rescue", "losses": 1}
    assert second == {"state": "queued", "reason": "rescue", "losses": 2, "run_after": at(10).isoformat()}


async def test_events_can_be_read_on_from_any_of_them(store):
    job_id = await store.queued()
    await store.jobs.cancel(job_id, at(1))
    await store.jobs.retry(job_id, at(2))
    events = await store.jobs.list_events(job_id)
    for n, event in enumerate(events):
        rest = await store.jobs.list_events(job_id, after_id=event.id)
        assert [one.id for one in rest] == [one.id for one in events[n + 1 :]]
    assert len(await store.jobs.list_events(job_id, limit=2)) == 2


async def test_an_event_has_a_number_that_is_never_given_again(store):
    """Or a client that resumes after the last one it saw would miss the next."""
    first = await store.queued()
    (before,) = await store.jobs.list_events(first)
    await store.files.delete_with_jobs([first])
    second = await store.queued()
    (after,) = await store.jobs.list_events(second)
    assert after.id > before.id


async def test_the_events_of_one_job_do_not_hold_those_of_another(store):
    one, two = await store.queued(), await store.queued()
    await store.jobs.cancel(two, at(1))
    assert {event.job_id for event in await store.jobs.list_events(one)} == {one}
    assert len(await store.jobs.list_events(two)) == 2
