"""Watching a real server: over its death and its next start, by a thousand at once, and by one who is slow."""

import asyncio
import re
import resource
import socket
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import httpx
import pytest

from service.client import (
    AsyncFilemill,
    ClientError,
    Event,
    Filemill,
    ProgressEvent,
    ServerUnreachableError,
    StateEvent,
)
from service.states import State
from tests.acceptance import telling_processors
from tests.acceptance.invariants import rows
from tests.acceptance.server import run_server

LIMIT_S = 60
LISTENERS = 1000
MOST_RSS_BYTES = 50 * 1024**2
PROCESSORS = Path(telling_processors.__file__)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def restart_often(times, server, gate):
    """Return what to do with each event: kill the server in so many attempts, start it again, and open the gate."""
    left = times

    def note(event):
        nonlocal left
        if left and isinstance(event, ProgressEvent):
            left -= 1
            server.kill()
            server.start()
            if not left:
                gate.touch()

    return note


def recorded(server):
    """Return what the table says, past the server."""
    return rows(server.data_dir, "SELECT id, kind, data ->> 'reason' AS reason FROM events ORDER BY id")


def test_a_stream_that_spans_sigkills_has_every_event_once_and_in_order(tmp_path):
    gate = tmp_path / "gate"
    arguments = ["--port", str(free_port())]
    with (
        run_server(tmp_path / "data", arguments=arguments, processors=PROCESSORS) as server,
        Filemill(server.url) as mill,
    ):
        job = mill.submit("telling.wait", params={"path": str(gate)})
        note = restart_often(2, server, gate)
        seen, losses = list[Event](), list[ClientError]()
        for event in mill.watch(job.id, on_loss=losses.append):
            seen.append(event)
            note(event)
        told = recorded(server)
        assert [event.id for event in seen] == [row["id"] for row in told]
        moves = [event.reason for event in seen if isinstance(event, StateEvent)]
        assert moves == [row["reason"] for row in told if row["kind"] == "state"]
        assert moves == ["submit", "claim", "rescue", "claim", "rescue", "claim", "succeed"]
        assert len(losses) >= 2
        assert mill.get(job.id).result == 1  # those that were lost do not count


async def test_who_watches_all_jobs_misses_nothing_while_the_server_is_started_again(tmp_path):
    arguments = ["--port", str(free_port())]
    with run_server(tmp_path / "data", arguments=arguments, processors=PROCESSORS) as server:
        connected = asyncio.Event()
        async with AsyncFilemill(server.url) as mill, AsyncFilemill(server.url) as other:

            async def watch():
                states = []
                async for event in mill.watch(states=[State.SUCCEEDED], on_connect=connected.set):
                    states.append(event.job_id)
                    if len(states) == 2:
                        return states
                return states

            watching = asyncio.create_task(watch())
            await asyncio.wait_for(connected.wait(), LIMIT_S)
            server.kill()  # before it has seen a single event
            server.start()
            jobs = [await other.submit("telling.much", params={"lines": 1}, wait_s=30) for _ in range(2)]
            assert await asyncio.wait_for(watching, LIMIT_S) == [job.id for job in jobs]


def test_a_server_that_does_not_come_back_is_given_up(tmp_path):
    arguments = ["--port", str(free_port())]
    with (
        run_server(tmp_path / "data", arguments=arguments, processors=PROCESSORS) as server,
        Filemill(server.url) as mill,
    ):
        job = mill.submit("telling.wait", params={"path": str(tmp_path / "never")})
        events = mill.watch(job.id, patience_s=0.1)
        next(events)
        server.kill()
        with pytest.raises(ServerUnreachableError, match=r"broke|no server answers"):
            list(events)


# ---- many


@pytest.fixture
def many_files():
    """Allow this process, and the servers that it starts, a socket for each listener."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * LISTENERS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[0]) * 1024


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@asynccontextmanager
async def listeners(url, count):
    """Open streams by hand: a client for each would be the larger part of the test."""
    opened = []
    try:
        for _ in range(count):
            opened.append(await asyncio.open_connection(url.host, url.port))
            opened[-1][1].write(b"GET /v1/events?state=succeeded HTTP/1.1\r\nHost: filemill\r\n\r\n")
            # one after the other: what is measured is listeners that are idle, not a thousand that come at once
            await asyncio.wait_for(opened[-1][0].readuntil(b": ping\n\n"), LIMIT_S)
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.gather(*[writer.wait_closed() for _, writer in opened], return_exceptions=True)


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_idle_listeners_cost_little_and_hear_of_a_commit_once(tmp_path):
    with run_server(tmp_path / "data", processors=PROCESSORS) as server:
        url = httpx.URL(server.url)
        async with AsyncFilemill(server.url) as mill, listeners(url, 20):  # what is loaded lazily is loaded now
            before = rss_bytes(server.pid)
            async with listeners(url, LISTENERS) as readers:
                assert (await mill.stats()).raw["listeners"] == LISTENERS + 20
                cost_bytes = rss_bytes(server.pid) - before
                print(cost_bytes)  # noqa: T201 - pytest shows it when the test fails
                assert cost_bytes < MOST_RSS_BYTES
                spent_s = cpu_s(server.pid)
                await asyncio.sleep(0.5)
                assert cpu_s(server.pid) - spent_s < 0.25, "listeners that hear nothing cost time"
                job = await mill.submit("telling.much", params={"lines": 1}, wait_s=30)
                for reader in readers:
                    event = await asyncio.wait_for(reader.readuntil(b'"reason":"succeed"}\n'), LIMIT_S)
                    assert (event.count(b"event: state"), event.count(job.id.encode())) == (1, 1)


# ---- slow


def test_a_reader_that_is_too_slow_is_cut_off_resumes_and_slows_nobody(tmp_path):
    jobs, lines = 4, 1000
    small = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)])
    with (
        run_server(tmp_path / "data", processors=PROCESSORS) as server,
        Filemill(server.url) as mill,
        Filemill(server.url, transport=small) as other,
    ):
        losses, wanted = list[ClientError](), jobs * (lines + 3)
        slow = other.watch(after=0, on_loss=losses.append)
        first = mill.submit("telling.much", params={"lines": lines, "length": 3900}, wait_s=30)
        heard = [next(slow).id]  # and now it does something else
        for _ in range(jobs - 1):
            assert mill.submit("telling.much", params=first.params, wait_s=30).state is State.SUCCEEDED
        quick = [event.id for event in islice(mill.watch(after=0), wanted)]
        assert losses == []
        heard += [event.id for event in islice(slow, wanted - 1)]
        assert losses, "it was never cut off"
        assert heard == quick == list(range(1, wanted + 1))
