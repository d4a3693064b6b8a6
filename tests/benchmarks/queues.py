"""No-op jobs: submitted, drained, and both at the same time; in process and over HTTP.

Each peer runs 16 at a time where it can, and its workers use one process or as many as there are cores: the better
figure counts. Filemill runs with its defaults: 100 consumers in one process.
Single submissions, never a bulk call, 16 at a time where they are
coroutines, else from one thread or four. Huey on SQLite with fsync and Procrastinate on PostgreSQL are durable, as
Filemill is; what is on Redis is not.

Drained: the jobs are there before the worker starts; the first tenth, in which it starts, does not count. For
Filemill the end is when the last job is settled and committed, for the peers when the last job starts.
"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from service.clock import SystemClock
from tests.benchmarks import load
from tests.benchmarks.backlog import lay_out
from tests.benchmarks.filemill import JOBS, start_filemill
from tests.benchmarks.lab import Piece
from tests.benchmarks.peers.tally import rate
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, Row, Scale
from tests.benchmarks.servers import start_postgres, start_redis

CONCURRENCY = 16
HTTP = "Filemill over HTTP"
_LIMIT_S = 540.0
_START_LIMIT_S = 30.0
_PAUSE_S = 0.02

Backend = Callable[[Piece], dict[str, Any]]


def _redis(piece: Piece) -> dict[str, Any]:
    return {"BENCH_REDIS": start_redis(piece)}


def _postgres(piece: Piece) -> dict[str, Any]:
    return {"BENCH_POSTGRES": start_postgres(piece)}


def _none(piece: Piece) -> dict[str, Any]:  # noqa: ARG001 - as the others
    return {}


# name in the table, environment, script, what it needs, and how much of the work it gets: the slow ones less
PEERS: tuple[tuple[str, str, str, Backend, float], ...] = (
    ("Huey, SQLite fsync", "huey", "huey_sqlite", _none, 1),
    ("Procrastinate, PostgreSQL", "procrastinate", "procrastinate_postgres", _postgres, 0.5),
    ("SAQ, Redis", "saq", "saq_redis", _redis, 1),
    ("taskiq, Redis", "taskiq", "taskiq_redis_list", _redis, 1),
    ("Celery, Redis", "celery", "celery_redis", _redis, 1),
    ("RQ, Redis", "rq", "rq_redis", _redis, 0.2),
)


def queues(scale: Scale) -> Family:
    """Return the rows of throughput."""
    count = scale.pick(5000, 300, 40)
    contestants = [
        Contestant(OURS, "ours", lambda piece: _inside(piece, "queue", count)),
        Contestant(HTTP, "beside", lambda piece: _over_http(piece, count)),
    ]
    for name, environment, script, backend, share in PEERS:
        work = partial(_peer, environment, script, backend, "queue", max(int(count * share), 20), 0)
        contestants.append(Contestant(name, "peer", work))
    return Family(
        name="queue",
        about=f"{count} no-op jobs",
        rows=(
            Row("submitted", "no-op jobs submitted, none running", "per s", "more"),
            Row("drained", "no-op jobs drained, durable", "per s", "more", (Must("peers", at_least=1.5),)),
            Row("both", "no-op jobs submitted while draining", "per s", "more", (Must("peers", at_least=1.5),)),
        ),
        contestants=tuple(contestants),
        limit_s=_LIMIT_S,
    )


def latencies(scale: Scale) -> Family:
    """Return the rows of how soon a job starts."""
    count, seconds = scale.pick(200, 25, 3), scale.pick(5, 1, 1)
    contestants = [
        Contestant(OURS, "ours", lambda piece: _inside(piece, "latency", count, seconds)),
        Contestant(HTTP, "beside", lambda piece: _latency_over_http(piece, count)),
    ]
    for name, environment, script, backend, _ in PEERS:
        work = partial(_peer, environment, script, backend, "latency", count, seconds)
        contestants.append(Contestant(name, "peer", work))
    return Family(
        name="latency",
        about="from submission to start, medians; half load is half of what each contestant itself can carry",
        rows=(
            Row("idle", "submit to start, idle (from the call)", "ms", "less", (Must("peers", below=1),)),
            Row("after", "accepted to start, idle (negative: before)", "ms", "less", (Must(at_most=1),)),
            Row("half", "submit to start, half load (from the call)", "ms", "less"),
        ),
        contestants=tuple(contestants),
        limit_s=_LIMIT_S,
    )


def _inside(piece: Piece, work: str, count: int, seconds: float = 0) -> Figures:
    """Run Filemill in one process, without HTTP."""
    return piece.run_json(
        [
            *(sys.executable, "-m", "tests.benchmarks.inside", work),
            *("--folder", piece.folder, "--count", count, "--seconds", seconds),
        ],
        _LIMIT_S,
        BENCH_TALLY=piece.folder / "tally",
    )


def _peer(
    environment: str, script: str, backend: Backend, work: str, count: int, seconds: float, piece: Piece
) -> Figures:
    python = piece.python_of(environment)
    return piece.run_json(
        [python, "-m", "tests.benchmarks.peers", script, work, "--count", count, "--seconds", seconds],
        _LIMIT_S,
        BENCH_TALLY=piece.folder / "tally",
        BENCH_FOLDER=piece.folder,
        BENCH_CONCURRENCY=CONCURRENCY,
        **backend(piece),
    )


def _over_http(piece: Piece, count: int) -> Figures:
    """Run Filemill as a server: one client sends over 16 connections."""
    lay_out(piece, count)
    server = start_filemill(piece, slots=3 * count)
    server.tally.wait(0, count, _LIMIT_S)
    drained = rate(server.tally.marks(0, count), server.wait_settled(_LIMIT_S))
    later = (SystemClock().now() + timedelta(days=1)).isoformat()
    submitted = load.closed_loop(
        server.address, [_request(number, run_after=later) for number in range(count)], CONCURRENCY
    )
    server.process.end()
    server = start_filemill(piece, folder="both", slots=count)
    both = load.closed_loop(server.address, [_request(number) for number in range(count)], CONCURRENCY)
    server.tally.wait(0, count, _LIMIT_S)
    ended = server.wait_settled(_LIMIT_S)
    return {
        "submitted": _per_s(submitted, max(answer.done_ns for answer in submitted)),
        "drained": drained,
        "both": _per_s(both, ended),
    }


def _latency_over_http(piece: Piece, count: int) -> Figures:
    """Submit one, wait until it runs, pause; "accepted" is here when the client has its answer."""
    server = start_filemill(piece, slots=count + 1)
    calls = []
    for number in range(count + 1):
        calls.append(load.call(server.address, _request(number)).require(202))
        server.tally.wait(number, 1, _START_LIMIT_S)
        time.sleep(_PAUSE_S)
    # the first one is the warm-up
    pairs = list(zip(calls, server.tally.marks(0, count + 1), strict=True))[1:]
    return {
        "idle": statistics.median(mark - call.sent_ns for call, mark in pairs) / 1e6,
        "after": statistics.median(mark - call.done_ns for call, mark in pairs) / 1e6,
    }


def _request(number: int, **fields: Any) -> bytes:
    return load.json_request(JOBS, {"processor": "bench.noop", "params": {"number": number}, **fields})


def _per_s(answers: list[load.Answer], end_ns: int) -> float:
    began = min(answer.require(202).sent_ns for answer in answers)
    return len(answers) / ((end_ns - began) / 1e9)
