"""A million rows: starting on them, claiming and listing among them, and pruning them; beside a thousand rows.

The rows are made once in a run, each with its first event, and copied for every piece of work.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.api import PER_S
from tests.benchmarks.backlog import ABSENT, NOOP, lay_out
from tests.benchmarks.figures import ms, quantile
from tests.benchmarks.filemill import JOBS, start_filemill
from tests.benchmarks.lab import Piece
from tests.benchmarks.processes import poll
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, PieceError, Row, Scale

THOUSAND, IDLE = "Filemill, 1,000 rows", "Filemill, not pruning"
_FEW = 1000
_LIMIT_S = 300.0
_LOOKS = 200


def starts(scale: Scale) -> Family:
    """Return the rows of how long commands take to start."""
    times = scale.pick(5, 3, 1)
    return Family(
        name="start",
        about="from the command to the answer",
        rows=(
            Row("start-help", "filemill --help", "ms", "less", (Must(at_most=300),)),
            Row("start-serve", "filemill serve to ready, empty folder", "s", "less", (Must(at_most=1.5),)),
        ),
        contestants=(Contestant(OURS, "ours", lambda piece: _starts(piece, times)),),
        limit_s=120,
    )


def million(scale: Scale) -> Family:
    """Return the rows of a long backlog."""
    many = scale.pick(1_000_000, 50_000, 2000)
    rows = f"{many:,} queued"
    as_fast = (Must(THOUSAND, at_most=1.5),)
    return Family(
        name="scale",
        about=f"{many:,} queued jobs beside {_FEW:,}",
        rows=(
            Row("restart", f"restart to ready, {rows}", "s", "less", (Must(at_most=1),), THOUSAND),
            Row("open", f"opening without web and imports, {rows}", "s", "less", (Must(at_most=1),), THOUSAND),
            Row("grown", f"memory that opening takes, {rows}", "MiB", "less", (Must(at_most=50),), THOUSAND),
            Row("first", f"first {_FEW:,} jobs drained, {rows}", "per s", "more", (), THOUSAND),
            Row("claim", f"claim of one job, {rows}", "ms", "less", as_fast),
            Row("page", f"first page of 50, {rows}", "ms", "less", as_fast),
            Row("state", f"later page of 50 by state, {rows}", "ms", "less", as_fast),
            Row("http-page", f"GET of the first page, {rows}", "ms", "less", as_fast),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _backlog(piece, many)),
            Contestant(THOUSAND, "beside", lambda piece: _backlog(piece, _FEW)),
        ),
        limit_s=3 * _LIMIT_S,
        rounds_at_most=3,
    )


def pruning(scale: Scale) -> Family:
    """Return the rows of a long pruning."""
    many, seconds = scale.pick(1_000_000, 50_000, 2000), scale.pick(30, 3, 1)
    return Family(
        name="prune",
        about=f"{many:,} expired jobs are pruned while a client asks",
        rows=(
            Row("prune-p99", f"GET of a job while {many:,} are pruned, p99", "ms", "less", (Must(IDLE, at_most=2),)),
            Row("prune-rate", "jobs pruned meanwhile", "per s", "more"),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _pruning(piece, many, seconds, prunes=True)),
            Contestant(IDLE, "beside", lambda piece: _pruning(piece, many, seconds, prunes=False)),
        ),
        limit_s=3 * _LIMIT_S,
        rounds_at_most=3,
    )


# ---- the works


def _starts(piece: Piece, times: int) -> Figures:
    helps, serves = [], []
    for number in range(times):
        began = time.perf_counter()
        command = [sys.executable, "-m", "service", "--help"]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=piece.folder)
        helps.append(time.perf_counter() - began)
        server = start_filemill(piece, folder=f"data-{number}")
        serves.append(server.ready_s)
        server.process.end()
    return {"start-help": ms(quantile(helps, 0.5)), "start-serve": quantile(serves, 0.5)}


def _backlog(piece: Piece, count: int) -> Figures:
    figures = {"restart": _restart(piece, count), "http-page": _http_page(piece, count)}
    for work, processor in (("open", NOOP), ("claim", ABSENT)):
        figures |= _inside(lay_out(piece, count, processor=processor), work, piece, count)
    return figures


def _restart(piece: Piece, count: int) -> float:
    """Start a server, which begins to drain at once."""
    data = lay_out(piece, count)
    server = start_filemill(piece, slots=count)
    server.process.end()
    shutil.rmtree(data)
    return server.ready_s


def _http_page(piece: Piece, count: int) -> float:
    """List the jobs of a server that cannot run them, so that looking at them is not disturbed."""
    data = lay_out(piece, count, processor=ABSENT)
    server = start_filemill(piece)
    request = load.head("GET", f"{JOBS}?limit=50")
    load.closed_loop(server.address, [request] * 10, 1)
    pages = [answer.require(200).seconds for answer in load.closed_loop(server.address, [request] * _LOOKS, 1)]
    server.process.end()
    shutil.rmtree(data)
    return ms(quantile(pages, 0.5))


def _inside(data: Path, work: str, piece: Piece, count: int) -> Figures:
    """Do one of the works in a process without web, and remove the folder."""
    command = [sys.executable, "-m", "tests.benchmarks.inside", work, "--folder", piece.folder]
    tally = piece.folder / f"{work}.tally"
    figures = piece.run_json([*command, "--count", count], _LIMIT_S, BENCH_TALLY=tally)
    shutil.rmtree(data)
    return figures


def _pruning(piece: Piece, many: int, seconds: float, *, prunes: bool) -> Figures:
    lay_out(piece, many, finished=True)
    server = start_filemill(piece, retention_s=60 if prunes else 7 * 86400, prune_interval_s=0.5)
    job_id = server.submit("bench.noop")
    server.wait_state(job_id, "succeeded")
    if prunes:
        for _ in poll(60, "the start of the pruning", server.process):
            if _left(piece) <= many:
                break
    before, began = _left(piece), time.perf_counter()
    taken = load.paced(server.address, load.head("GET", f"{JOBS}/{job_id}"), PER_S, seconds)
    figures = {"prune-p99": ms(quantile(taken, 0.99))}
    if prunes:
        figures["prune-rate"] = (before - _left(piece)) / (time.perf_counter() - began)
    return figures


def _left(piece: Piece) -> int:
    """Count the jobs that are left, past the server."""
    import sqlite3  # noqa: PLC0415 - only here

    path = piece.folder / "data" / "filemill.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        found = connection.execute("SELECT count(*) FROM jobs").fetchone()
    finally:
        connection.close()
    if found is None:
        raise PieceError("the jobs cannot be counted")
    return int(found[0])
