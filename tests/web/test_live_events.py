"""/v1/events and /v1/jobs/{id}/events: server-sent events, resumed without gap or repeat."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from service.web import events, streaming
from tests.web.answers import assert_problem

PATIENCE_S = 60
LIFE = ["queued", "running", "succeeded"]


@dataclass
class Seen:
    id: str
    kind: str
    data: dict[str, Any]


class Stream:
    """One open stream, read event by event."""

    def __init__(self, pieces: asyncio.Queue[bytes | None]) -> None:
        self.pieces = pieces
        self.comments = 0

    async def __aiter__(self) -> AsyncGenerator[Seen]:
        while (piece := await asyncio.wait_for(self.pieces.get(), PATIENCE_S)) is not None:
            for block in filter(None, piece.decode().split("\n\n")):
                fields = dict(line.split(": ", 1) for line in block.split("\n"))
                if "" in fields:
                    self.comments += 1
                if "data" in fields:
                    yield Seen(fields["id"], fields["event"], json.loads(fields["data"]))

    async def states(self, count: int | None = None) -> list[str]:
        found = []
        async with aclosing(self.__aiter__()) as seen:
            async for event in seen:
                if event.kind == "state":
                    found.append(event.data["state"])
                if len(found) == count:
                    break
        return found


def get(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return the scope of a request, as the server that the service runs on makes it."""
    path, _, query = path.partition("?")
    return {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": headers,
            "http_version": "1.1", "scheme": "http", "asgi": {"version": "3.0", "spec_version": "2.3"},
            "server": ("filemill", 80), "client": ("127.0.0.1", 1), "root_path": ""}  # fmt: skip


class Client:
    """The other end of a stream."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.started = asyncio.Event()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.started.set()
        else:
            self.pieces.put_nowait(message["body"])
            if not message.get("more_body"):
                self.pieces.put_nowait(None)


@pytest.fixture
def watch(app):
    """Return a context that opens a stream: httpx's in-process transport would wait for the end of it."""

    @asynccontextmanager
    async def watch(path, last_event_id=None):
        client = Client()
        headers = [(b"last-event-id", last_event_id.encode())] if last_event_id else []
        task = asyncio.create_task(app(get(path, *headers), client.receive, client.send))
        await asyncio.wait_for(client.started.wait(), PATIENCE_S)
        try:
            yield Stream(client.pieces)
        finally:
            client.gone.set()
            await asyncio.wait_for(task, PATIENCE_S)

    return watch


async def test_a_job_is_watched_from_its_beginning_to_its_end(watch, submit, gate):
    job = await submit(processor="t.hold")
    async with watch(f"/v1/jobs/{job['id']}/events") as stream:
        await gate.reached.wait()
        gate.opened.set()
        assert await stream.states() == LIFE


async def test_a_job_that_has_ended_is_told_whole_and_then_no_more(watch, submit, finished, client):
    job = await submit(processor="t.echo", params={"value": 1})
    await finished(job)
    async with watch(f"/v1/jobs/{job['id']}/events") as stream:
        seen = [event async for event in stream]
    assert [event.data["reason"] for event in seen] == ["submit", "claim", "succeed"]
    assert all(event.data["job_id"] == job["id"] and event.data["processor"] == "t.echo" for event in seen)
    again = await client.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": seen[-1].id})
    assert (again.status_code, again.content) == (204, b"")


async def test_a_stream_is_resumed_after_any_event_without_gap_or_repeat(watch, submit, finished, subtests):
    job = await submit(processor="t.echo")
    await finished(job)
    async with watch(f"/v1/jobs/{job['id']}/events") as stream:
        ids = [event.id async for event in stream]
    for count in range(1, len(ids)):
        with subtests.test(count=count):
            async with watch(f"/v1/jobs/{job['id']}/events", ids[count - 1]) as stream:
                assert [event.id async for event in stream] == ids[count:]


async def test_all_jobs_are_watched_at_once(watch, submit):
    async with watch("/v1/events") as stream:
        jobs = [(await submit(processor="t.echo"))["id"] for _ in range(3)]
        seen = []
        async for event in stream:
            seen.append(event)
            if [one.data["state"] for one in seen].count("succeeded") == 3:
                break
    for job in jobs:
        assert [event.data["state"] for event in seen if event.data["job_id"] == job] == LIFE
    assert [int(event.id) for event in seen] == sorted(int(event.id) for event in seen)


async def test_a_stream_of_all_jobs_is_resumed_from_the_table_and_then_goes_on_live(watch, submit, finished):
    first = await submit(processor="t.echo")
    await finished(first)
    async with watch("/v1/events", "1") as stream:
        second = await submit(processor="t.echo")
        assert await stream.states(5) == [*LIFE[1:], *LIFE]
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=running", ["running", "running"]),
        ("processor=t.fail", ["queued", "running", "failed"]),
        ("state=failed&state=succeeded", ["succeeded", "failed"]),
    ],
)
async def test_events_are_filtered(watch, submit, finished, query, expected):
    async with watch(f"/v1/events?{query}") as stream:
        await finished(await submit(processor="t.echo"))
        await finished(await submit(processor="t.fail"))
        assert await stream.states(len(expected)) == expected


async def test_one_job_is_picked_out_of_all(watch, submit, finished):
    first = await submit(processor="t.echo")
    second = await submit(processor="t.echo")
    await finished(second)
    first_event = "1"
    async with watch(f"/v1/events?job={second['id']}", first_event) as stream:
        seen = await stream.states(3)
    assert seen == LIFE
    assert first["id"] != second["id"]


async def test_a_silent_stream_has_heartbeats(watch, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    async with watch("/v1/events") as stream:
        pieces = [await asyncio.wait_for(stream.pieces.get(), PATIENCE_S) for _ in range(4)]
    assert pieces[0] == b"id: 0\nretry: 1000\n\n"
    assert pieces[1:] == [b": ping\n\n"] * 3


async def test_a_stream_begins_with_its_position_so_that_nothing_is_missed_before_the_first_event(
    watch, submit, finished
):
    await finished(await submit(processor="t.echo"))
    async with watch("/v1/events") as stream:
        opening = await asyncio.wait_for(stream.pieces.get(), PATIENCE_S)
    position = opening.decode().partition("\n")[0].removeprefix("id: ")
    assert position == "3"
    missed = await submit(processor="t.echo")
    async with watch(f"/v1/events?job={missed['id']}", position) as stream:
        assert await stream.states(3) == LIFE


async def test_a_comment_says_that_the_past_is_over(watch, submit, gate):
    job = await submit(processor="t.hold")
    await gate.reached.wait()
    async with watch(f"/v1/jobs/{job['id']}/events") as stream:
        pieces = [await asyncio.wait_for(stream.pieces.get(), PATIENCE_S) for _ in range(4)]
        gate.opened.set()
    assert pieces[-1] == b": ping\n\n"
    assert sum(b"event: state" in piece for piece in pieces) == 2


async def test_a_commit_is_read_once_for_a_thousand_listeners_and_silence_is_not_read_at_all(runtime, submit, finished):
    reads = []

    async def counted(*asked, own=runtime.feed._read_page):
        reads.append(asked)
        return await own(*asked)

    runtime.feed._read_page = counted
    async with AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(runtime.feed.listen(lambda _: True)) for _ in range(1000)]
        writer = runtime.jobs._writer
        reads.clear()
        before = writer.commits  # the start of the service commits at its own time; the last may not have been read yet
        await asyncio.sleep(0.05)  # whoever reads silence has time for it
        await finished(await submit(processor="t.echo"))
        for listener in listeners:
            heard = [await listener.next(PATIENCE_S) for _ in LIFE]
            assert [event.data["state"] for event in heard] == LIFE
        commits = writer.commits - before + 1
        assert len(reads) <= 2 * commits, "each commit is read to its end: a page, and an empty one"
        assert [one for one in listeners if await one.next(0)] == []


async def test_a_listener_too_far_behind_is_let_go_and_can_resume(watch, submit, finished, runtime, monkeypatch):
    monkeypatch.setattr(runtime.feed, "_capacity", 2)
    async with runtime.feed.listen(lambda _: True) as listener:
        await finished(await submit(processor="t.echo"))
        async with asyncio.timeout(PATIENCE_S):
            while not listener.ended:
                await asyncio.sleep(0)
        assert await listener.next(0) is None
    async with watch("/v1/events", "1") as stream:
        assert await stream.states(2) == LIFE[1:]


async def test_a_client_that_takes_nothing_is_cut_off(app, monkeypatch):
    monkeypatch.setattr(streaming, "STALL_S", 0.01)

    async def never(_message=None):
        await asyncio.Event().wait()

    await asyncio.wait_for(app(get("/v1/events"), never, never), PATIENCE_S)
    assert app.state.runtime.feed.listeners == 0


async def test_leaving_forgets_the_listener(watch, runtime):
    async with watch("/v1/events") as stream:
        await stream.pieces.get()
    assert runtime.feed.listeners == 0


async def test_the_streams_end_when_the_server_stops(watch, runtime):
    async with watch("/v1/events") as stream:
        await stream.pieces.get()
        runtime.begin_stop()
        assert await stream.states() == []


@pytest.mark.parametrize("unknown", ["x", "-1", "1.5", "99999", "9" * 100])
async def test_an_event_that_was_never_sent_is_refused(client, unknown):
    problem = assert_problem(
        await client.get("/v1/events", headers={"Last-Event-ID": unknown}), 400, "invalid_event_id"
    )
    assert "leave Last-Event-ID away" in problem["detail"]


async def test_a_stream_is_resumed_although_the_newest_events_were_deleted(watch, submit, finished, client):
    job = await submit(processor="t.echo")
    await finished(job)
    async with watch(f"/v1/jobs/{job['id']}/events") as stream:
        last = [event.id async for event in stream][-1]
    assert (await client.delete(job["links"]["self"])).status_code == 204
    async with watch("/v1/events", last) as stream:
        await submit(processor="t.echo")
        assert await stream.states(3) == LIFE


async def test_a_filter_that_makes_no_sense_is_refused(client):
    assert_problem(await client.get("/v1/events?state=eaten"), 422, "invalid_request")
    assert_problem(await client.get("/v1/events?color=red"), 422, "invalid_request")


async def test_the_events_of_a_job_that_is_not_there_are_not_found(client):
    assert_problem(await client.get("/v1/jobs/none/events"), 404, "job_not_found")


async def test_the_stream_of_a_job_that_is_deleted_ends(watch, later, client):
    job = await later()
    async with watch(f"/v1/jobs/{job['id']}/events") as stream:
        assert await stream.states(1) == ["queued"]
        assert (await client.delete(job["links"]["self"])).status_code == 204
        assert await stream.states() == []
