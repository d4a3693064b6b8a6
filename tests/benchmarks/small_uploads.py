"""Files of 10 KiB, one job each, over 1, 16 and 64 connections that each send their next as soon as they can.

Filemill has the bytes and the row on disk, synced, before its 202; its consumers run the no-op jobs meanwhile. The
tutorial reads the file, writes it without a sync, and adds a no-op background task; what it promises is nothing.
"""

import os

from tests.benchmarks import load
from tests.benchmarks.figures import ms, quantile
from tests.benchmarks.filemill import JOBS, start_filemill
from tests.benchmarks.lab import Piece
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, Row, Scale
from tests.benchmarks.webapps import start_app

CONNECTIONS = (1, 16, 64)
_KIB = 1024
_FILE_BYTES = 10 * _KIB
_WARM_UPS = 50
TUTORIAL = "FastAPI tutorial"


def small_uploads(scale: Scale) -> Family:
    """Return three rows for each number of connections."""
    count = scale.pick(1000, 300, 20)
    return Family(
        name="small",
        about=f"{count} uploads of 10 KiB",
        rows=tuple(row for connections in CONNECTIONS for row in _rows(count, connections)),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _filemill(piece, count)),
            Contestant(TUTORIAL, "peer", lambda piece: _tutorial(piece, count)),
        ),
        limit_s=180,
    )


def _rows(count: int, connections: int) -> tuple[Row, ...]:
    work = f"{count} x 10 KiB, {connections} connection{'s' * (connections > 1)}"
    must = (Must(TUTORIAL, at_least=1),) if connections == 16 else ()
    return (
        Row(f"small-{connections}-rate", f"{work}: accepted", "per s", "more", must, TUTORIAL),
        Row(f"small-{connections}-p50", f"{work}: time to 202, p50", "ms", "less", (), TUTORIAL),
        Row(f"small-{connections}-p99", f"{work}: time to 202, p99", "ms", "less", (), TUTORIAL),
    )


def _filemill(piece: Piece, count: int) -> Figures:
    return _measure(start_filemill(piece).address, JOBS, count, {"processor": "bench.noop"})


def _tutorial(piece: Piece, count: int) -> Figures:
    return _measure(start_app(piece, "tutorial").address, "/read", count, {})


def _measure(address: load.Address, path: str, count: int, fields: dict[str, str]) -> Figures:
    request = load.form_request(path, fields, "small.bin", os.urandom(_FILE_BYTES))
    load.closed_loop(address, [request] * min(_WARM_UPS, count), min(16, count))
    figures: dict[str, float] = {}
    for connections in CONNECTIONS:
        answers = load.closed_loop(address, [request] * count, connections)
        taken = [answer.require(202).seconds for answer in answers]
        whole_s = (max(one.done_ns for one in answers) - min(one.sent_ns for one in answers)) / 1e9
        figures[f"small-{connections}-rate"] = len(answers) / whole_s
        figures[f"small-{connections}-p50"] = ms(quantile(taken, 0.5))
        figures[f"small-{connections}-p99"] = ms(quantile(taken, 0.99))
    return figures
