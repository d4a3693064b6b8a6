"""The stream of events as the client reads it, however it is cut, broken and resumed."""

import json
from contextlib import aclosing
from itertools import islice

import httpx
import pytest

from service.client import (
    AsyncFilemill,
    BrokenStreamError,
    ClientError,
    Filemill,
    LogEvent,
    ProblemError,
    ProgressEvent,
    ServerUnreachableError,
    StateEvent,
)
from service.client.events import MAX_LINE_CHARS, BlockReader
from service.states import State

URL = "http://filemill.test"
FACTS = {"job_id": "j1", "processor": "a.b", "at": "2026-01-02T03:04:05+00:00", "attempt": 1}


def block(number, kind="state", **data):
    body = FACTS | ({"state": "running", "reason": "claim"} if kind == "state" and not data else data)
    return f"event: {kind}\ndata: {json.dumps(body)}\nid: {number}\n\n".encode()


END = {"state": "succeeded", "reason": "succeed"}


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in these pieces; an exception among them breaks the connection."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.is_closed = False

    def __iter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self):
        for piece in self:
            yield piece

    def close(self):
        self.is_closed = True

    async def aclose(self):
        self.close()


class FakeClock:
    def __init__(self):
        self.seconds = 0.0
        self.slept = []

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.seconds += seconds


class Server:
    """Answers one connection after the other with what it is given; remembers where each wanted to resume."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.resumed = []
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        self.resumed.append(request.headers.get("last-event-id"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, stream=answer)


def watching(server, clock=None):
    clock = clock or FakeClock()
    return Filemill(URL, transport=httpx.MockTransport(server), clock=clock, sleep=clock.sleep)


def ids(events):
    return [event.id for event in events]


# ---- reading


def read(*pieces):
    reader = BlockReader()
    return [one for piece in pieces for one in reader.feed(piece)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_means_the_same_however_it_is_cut(end):
    text = f"\ufeffid: 7{end}retry: 1500{end}{end}: ping{end}{end}event: log{end}data: é\u2028{end}data:b{end}{end}x"
    whole = text.encode()
    expected = [(7, 1.5, None, False), (None, None, None, True), (None, None, "é\u2028\nb", False)]
    for size in (1, 2, 3, 5, len(whole)):
        found = read(*(whole[start : start + size] for start in range(0, len(whole), size)))
        assert [(one.id, one.retry_s, one.data, one.is_comment) for one in found] == expected


def test_what_is_no_number_is_no_position_and_no_pause():
    (found,) = read(b"id: x\nid: 1\x00\nid: " + b"9" * 99 + b"\nretry: soon\nretry: 1.5\ndata: d\n\n")
    assert (found.id, found.retry_s) == (None, None)


def test_a_line_without_an_end_is_given_up():
    reader = BlockReader()
    list(reader.feed(b"x" * MAX_LINE_CHARS))
    with pytest.raises(BrokenStreamError, match="longer than"):
        list(reader.feed(b"x"))


def test_events_have_types():
    stream = Pieces(
        block(1, state="failed", reason="fail", error={"code": "boom", "message": "why"}),
        block(2, "progress", fraction=0.5, message=None),
        block(3, "log", message="hello", fields={"n": 1}),
        block(4, "of a newer server", anything=1),
        block(5, state="queued", reason="back_off", run_after="2026-01-02T03:05:00+00:00"),
    )
    failed, progress, log, queued = islice(watching(Server(stream)).watch(), 4)
    assert isinstance(failed, StateEvent)
    assert isinstance(queued, StateEvent)
    assert isinstance(progress, ProgressEvent)
    assert isinstance(log, LogEvent)
    assert (failed.state, failed.is_end, failed.error) == (State.FAILED, True, {"code": "boom", "message": "why"})
    assert (progress.fraction, progress.message, log.message, log.fields) == (0.5, "", "hello", {"n": 1})
    assert (queued.id, queued.run_after.minute if queued.run_after else None) == (5, 5)


@pytest.mark.parametrize(
    "data",
    ["{", "[]", "1", '{"state": "running"}', json.dumps(FACTS | {"state": "eaten"}), "[" * 100_000],
    ids=lambda data: data[:20],
)
def test_what_is_no_event_of_ours_is_told_as_such(data):
    stream = Pieces(f"event: state\nid: 1\ndata: {data}\n\n".encode())
    with pytest.raises(BrokenStreamError, match="as a Filemill server sends them"):
        list(watching(Server(stream)).watch())


# ---- resuming


def test_a_broken_stream_is_resumed_without_gap_or_repeat():
    server = Server(
        Pieces(b"id: 4\nretry: 100\n\n", httpx.ReadError("reset")),
        Pieces(block(5), block(6)[:-9], httpx.RemoteProtocolError("incomplete")),
        httpx.ConnectError("refused"),
        httpx.Response(503),
        Pieces(block(5), block(6), block(7)),
        Pieces(block(8)),
    )
    losses = list[ClientError]()
    events = watching(server).watch(on_loss=losses.append)
    assert ids(islice(events, 4)) == [5, 6, 7, 8]
    assert server.resumed == [None, "4", "5", "5", "5", "7"]
    assert len(losses) == 5


def test_pauses_grow_while_the_server_is_gone():
    clock = FakeClock()
    server = Server(Pieces(b"retry: 1000\n\n"), *[httpx.ConnectError("refused")] * 8, Pieces(block(1)))
    next(watching(server, clock).watch(patience_s=None))
    assert 0.5 <= clock.slept[0] <= 1
    assert 5 <= clock.slept[-1] <= 10
    assert len(clock.slept) == 9


def test_a_server_that_stays_away_is_given_up_and_one_that_never_was_at_once():
    clock = FakeClock()
    server = Server(Pieces(block(1)), *[httpx.ConnectError("refused")] * 99)
    events = watching(server, clock).watch(patience_s=20)
    assert next(events).id == 1
    with pytest.raises(ServerUnreachableError):
        next(events)
    assert 20 <= clock.seconds <= 31
    with pytest.raises(ServerUnreachableError):
        next(watching(Server(httpx.ConnectError("refused"))).watch())


def test_a_job_is_watched_to_the_end_of_the_stream_because_it_may_have_been_retried():
    again = {"state": "queued", "reason": "retry"}
    server = Server(Pieces(block(1), block(2, **END), block(3, **again), block(4), block(5, **END)))
    assert ids(watching(server).watch("j1")) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("last", [httpx.Response(204), httpx.Response(404, json={"code": "x", "title": "gone"})])
def test_a_stream_that_breaks_after_the_end_of_a_job_is_over(last):
    server = Server(Pieces(block(1, **END), httpx.ReadError("reset")), last)
    assert ids(watching(server).watch("j1")) == [1]
    assert server.resumed == [None, "1"]


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_refusal_is_no_reason_to_try_again(status):
    body = {"code": "invalid_event_id", "title": "No such event"}
    with pytest.raises(ProblemError, match="No such event"):
        list(watching(Server(httpx.Response(status, json=body))).watch("j1"))


def test_without_following_the_stream_ends_where_it_would_wait():
    stream = Pieces(block(1), b": ping\n\n", block(2))
    assert ids(watching(Server(stream)).watch("j1", follow=False)) == [1]
    assert stream.is_closed


def test_filters_and_the_position_go_with_the_request():
    server = Server(Pieces(block(8)))
    next(watching(server).watch(states=[State.FAILED], processors=["a.b", "c.d"], jobs=["j 1"], after=7))
    (request,) = server.requests
    assert str(request.url) == f"{URL}/v1/events?state=failed&processor=a.b&processor=c.d&job=j+1"
    assert request.headers["last-event-id"] == "7"
    with pytest.raises(ValueError, match="not of one"):
        next(watching(server).watch("j1", states=[State.FAILED]))


def test_who_stops_reading_leaves_no_connection_behind():
    stream = Pieces(block(1), block(2))
    for _ in watching(Server(stream)).watch():
        break
    assert stream.is_closed


async def test_on_an_event_loop_it_is_the_same():
    stream = Pieces(block(1), block(2), block(3))
    server = Server(stream)
    async with AsyncFilemill(URL, transport=httpx.MockTransport(server)) as mill:
        seen = []
        async with aclosing(mill.watch()) as events:  # type: ignore[type-var]
            async for event in events:
                seen.append(event.id)
                if event.id == 2:
                    break
    assert (seen, stream.is_closed) == ([1, 2], True)
