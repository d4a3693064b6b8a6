"""`table.profile` of a large CSV, beside pandas' `read_csv` and `describe`: seconds, and memory.

The memory of the child is the highest sum that its processes held at once, looked at every few milliseconds. Filemill's
time is from the submission to the result; the file is stored before.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.filemill import JOBS, Server, start_filemill
from tests.benchmarks.lab import Lab, Piece
from tests.benchmarks.processes import descendants, forget_peak, peak_bytes, poll, resident_bytes
from tests.benchmarks.rows import OURS, AbsentError, Contestant, Family, Figures, Must, Row, Scale

PANDAS = "pandas read_csv + describe"
MIB = 1024**2
_PROCESSOR = "table.profile"
_LIMIT_S = 900.0
_LOOKS_FOR_A_QUESTION = 10
_BLOCK_ROWS = 20_000
_WORDS = ("north", "south", "east", "west", "Zürich", "São Paulo", "東京", "", "unknown", "n/a")


def spreadsheets(scale: Scale) -> Family:
    """Return the rows of one large table."""
    mebibytes = scale.pick(1024, 64, 2)
    size = f"{mebibytes // 1024} GiB" if mebibytes >= 1024 else f"{mebibytes} MiB"
    return Family(
        name="table",
        about=f"profile of a CSV of {size}",
        rows=(
            Row("table-seconds", f"profile of a CSV of {size}", "s", "less"),
            Row("table-child", "memory of the process that profiles", "MiB", "less", (Must(at_most=1536),)),
            Row("table-server", "memory by which the server grows", "MiB", "less", (Must(at_most=16),)),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _filemill(piece, mebibytes)),
            Contestant(PANDAS, "peer", lambda piece: _pandas(piece, mebibytes)),
        ),
        limit_s=_LIMIT_S,
        rounds_at_most=3,
    )


def _filemill(piece: Piece, mebibytes: int) -> Figures:
    server = start_filemill(piece)
    known = server.get("/v1/processors")
    names = {one["name"] for one in (known if isinstance(known, list) else known["items"])}
    if _PROCESSOR not in names:
        raise AbsentError(f"this version has no {_PROCESSOR}")
    file_id = _store(server, _table(piece.lab, mebibytes))
    pid = server.process.pid
    forget_peak(pid)
    before, began = resident_bytes(pid), time.perf_counter()
    request = load.json_request(JOBS, {"processor": _PROCESSOR, "files": [file_id]})
    load.call(server.address, request).require(202)
    peak = _watch(server)
    seconds = time.perf_counter() - began
    server.require_none_failed()
    return {
        "table-seconds": seconds,
        "table-child": peak / MIB,
        "table-server": (peak_bytes(pid) - before) / MIB,
    }


def _store(server: Server, path: Path) -> str:
    def pieces() -> Iterator[bytes]:
        yield load.head("POST", "/v1/files?filename=table.csv", path.stat().st_size, "text/csv")
        with path.open("rb") as file:
            while piece := file.read(MIB):
                yield piece

    return str(load.stream(server.address, pieces(), _LIMIT_S).require(201).json()["id"])


def _watch(server: Server) -> int:
    """Wait for the job; return the most that the children held, in bytes."""
    peak = 0
    for look, _ in enumerate(poll(_LIMIT_S, "the profile", server.process)):
        peak = max(peak, sum(map(resident_bytes, descendants(server.process.pid))))
        if look % _LOOKS_FOR_A_QUESTION == 0 and not any(
            server.get(f"{JOBS}?state={state}&limit=1")["items"] for state in ("queued", "running")
        ):
            break
    return peak


def _pandas(piece: Piece, mebibytes: int) -> Figures:
    script = [piece.python_of("pandas"), "-m", "tests.benchmarks.peers.pandas_profile"]
    found = piece.run_json([*script, _table(piece.lab, mebibytes)], _LIMIT_S)
    return {"table-seconds": found["seconds"], "table-child": found["peak"]}


def _table(lab: Lab, mebibytes: int) -> Path:
    """Return a CSV with numbers, instants, words in several scripts, and gaps; made if need be."""
    path = lab.cache / "tables" / f"{mebibytes}-mib.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(b"id,at,place,amount,ratio,note\n")
            first = 0
            while file.tell() < mebibytes * MIB:
                file.write(_rows(first))
                first += _BLOCK_ROWS
        partial.rename(path)
    return path


def _rows(first: int) -> bytes:
    dice = random.Random(first)
    lines = [
        f"{number},2026-{number % 12 + 1:02}-{number % 28 + 1:02}T12:00:00Z,{dice.choice(_WORDS)},"
        f"{dice.randrange(1_000_000) / 100},{dice.random():.6f},note {dice.randrange(1000)}"
        for number in range(first, first + _BLOCK_ROWS)
    ]
    return ("\n".join(lines) + "\n").encode()
