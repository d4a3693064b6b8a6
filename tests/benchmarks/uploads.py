"""Large files: how fast they come in and go out, and what memory that takes.

Filemill writes each byte once, hashes it and syncs it before it answers. FastAPI's `UploadFile` spools to a temporary
file that the endpoint copies in pieces of 1 MiB; it neither syncs nor hashes. The bare ASGI application throws the
body away; `dd conv=fsync` writes zeros and syncs. All servers are uvicorn with uvloop and httptools, one process.

A virtual machine that hands free memory back to its host pays for each page of the cache that it takes again: here a
second and more for each GiB. So the state of the machine matters, and both are measured: at rest, when nothing was
written for a while, as most uploads find it; and warm, right after as much page cache was used and freed as the most
that any of them takes.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.benchmarks import load
from tests.benchmarks.filemill import JOBS, start_filemill
from tests.benchmarks.lab import Piece
from tests.benchmarks.machine import dd_seconds, touch_memory
from tests.benchmarks.processes import forget_peak, peak_bytes, resident_bytes
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, PieceError, Row, Scale
from tests.benchmarks.webapps import start_app

MIB = 1024**2
_FORM = f"multipart/form-data; boundary={load.BOUNDARY}"
_LIMIT_S = 300.0
# bytes of every value, so that no part of the way can take them for something easy
_PIECE = bytes(range(256)) * (MIB // 256)

COPY, SINK, DD = "FastAPI UploadFile", "bare ASGI sink", "dd conv=fsync"


def uploads(scale: Scale) -> Family:
    """Return the rows of one large upload."""
    mebibytes = scale.pick(1024, 256, 4)
    size, rest_s = _size(mebibytes), scale.pick(15, 4, 0)
    return Family(
        name="upload",
        about="one large upload, and its download",
        rows=(
            Row(
                "upload-multipart", f"{size} multipart upload, durable, SHA-256", "MiB/s", "more",
                (Must(COPY, at_least=2), Must(DD, at_least=0.8)),
            ),
            Row(
                "upload-warm", "the same, where page cache was just used and freed", "MiB/s", "more", (), COPY
            ),
            Row("upload-raw", f"{size} raw upload, durable, SHA-256", "MiB/s", "more", (Must(DD, at_least=0.8),)),
            Row("download", f"{size} download", "MiB/s", "more"),
            Row("download-memory", f"memory that a {size} download takes", "MiB", "less", (Must(at_most=16),)),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _filemill(piece, mebibytes, rest_s)),
            Contestant(COPY, "peer", lambda piece: _tutorial(piece, mebibytes, rest_s)),
            Contestant(SINK, "beside", lambda piece: _sink(piece, mebibytes)),
            Contestant(DD, "beside", lambda piece: _dd(piece, mebibytes, rest_s)),
        ),
        limit_s=_LIMIT_S,
    )  # fmt: skip


def memory(scale: Scale) -> Family:
    """Return the rows of what memory an upload takes."""
    small, large = scale.pick(100, 100, 4), scale.pick(4096, 512, 8)
    return Family(
        name="memory",
        about="growth of the server's resident memory by one upload",
        rows=tuple(
            Row(f"memory-{which}", f"memory that a {_size(size)} upload takes", "MiB", "less", (Must(at_most=16),))
            for which, size in (("small", small), ("large", large))
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _filemill_memory(piece, small, large)),
            Contestant(COPY, "peer", lambda piece: _tutorial_memory(piece, small, large)),
        ),
        limit_s=2 * _LIMIT_S,
        rounds_at_most=3,
    )


# ---- one large file


def _filemill(piece: Piece, mebibytes: int, rest_s: float) -> Figures:
    server = start_filemill(piece)
    _warm(server.address, f"{JOBS}?processor=bench.noop", JOBS)
    time.sleep(rest_s)
    multipart = _upload_form(server.address, JOBS, mebibytes, processor="bench.noop").require(202)
    touch_memory(piece.folder / "touch", 2 * mebibytes)
    warm = _upload_form(server.address, JOBS, mebibytes, processor="bench.noop").require(202)
    time.sleep(rest_s)
    raw = _upload_raw(server.address, f"{JOBS}?processor=bench.noop&filename=raw", mebibytes).require(202)
    file = raw.json()["inputs"][0]["id"]
    forget_peak(server.process.pid)
    before = resident_bytes(server.process.pid)
    length, seconds = load.pour(server.address, load.head("GET", f"/v1/files/{file}/content"))
    if length != mebibytes * MIB:
        raise PieceError(f"{length} bytes came back")
    return {
        "upload-multipart": mebibytes / multipart.seconds,
        "upload-warm": mebibytes / warm.seconds,
        "upload-raw": mebibytes / raw.seconds,
        "download": mebibytes / seconds,
        "download-memory": (peak_bytes(server.process.pid) - before) / MIB,
    }


def _tutorial(piece: Piece, mebibytes: int, rest_s: float) -> Figures:
    app = start_app(piece, "tutorial", TMPDIR=piece.folder)
    _upload_form(app.address, "/copy", 1).require(202)
    time.sleep(rest_s)
    answer = _upload_form(app.address, "/copy", mebibytes).require(202)
    _require_size(piece.folder / answer.json()["name"], mebibytes)
    touch_memory(piece.folder / "touch", 2 * mebibytes)
    warm = _upload_form(app.address, "/copy", mebibytes).require(202)
    return {"upload-multipart": mebibytes / answer.seconds, "upload-warm": mebibytes / warm.seconds}


def _sink(piece: Piece, mebibytes: int) -> Figures:
    app = start_app(piece, "sink")
    _upload_raw(app.address, "/", 1).require(202)
    multipart = _upload_form(app.address, "/", mebibytes).require(202)
    raw = _upload_raw(app.address, "/", mebibytes).require(202)
    return {"upload-multipart": mebibytes / multipart.seconds, "upload-raw": mebibytes / raw.seconds}


def _dd(piece: Piece, mebibytes: int, rest_s: float) -> Figures:
    time.sleep(rest_s)
    written = mebibytes / dd_seconds(piece.folder / "dd", mebibytes)
    touch_memory(piece.folder / "touch", 2 * mebibytes)
    warm = mebibytes / dd_seconds(piece.folder / "dd", mebibytes)
    return {"upload-multipart": written, "upload-raw": written, "upload-warm": warm}


# ---- memory


def _filemill_memory(piece: Piece, small: int, large: int) -> Figures:
    server = start_filemill(piece)
    _warm(server.address, f"{JOBS}?processor=bench.noop", JOBS)
    return _growth(server.address, JOBS, server.process.pid, small, large, processor="bench.noop")


def _tutorial_memory(piece: Piece, small: int, large: int) -> Figures:
    app = start_app(piece, "tutorial", TMPDIR=piece.folder)
    _upload_form(app.address, "/copy", 1).require(202)
    return _growth(app.address, "/copy", app.process.pid, small, large)


def _growth(address: load.Address, path: str, pid: int, small: int, large: int, **fields: str) -> Figures:
    """Upload both; return by how many MiB the peak exceeds what was resident before the first."""
    before, figures = resident_bytes(pid), {}
    for which, size in (("small", small), ("large", large)):
        forget_peak(pid)
        _upload_form(address, path, size, **fields).require(202)
        figures[f"memory-{which}"] = (peak_bytes(pid) - before) / MIB
    return figures


# ---- requests


def _warm(address: load.Address, raw: str, form: str) -> None:
    """Let the server load what it loads for its first uploads."""
    _upload_raw(address, f"{raw}&filename={quote('warm up')}", 1).require(202)
    _upload_form(address, form, 1, processor="bench.noop").require(202)


def _upload_form(address: load.Address, path: str, mebibytes: int, **fields: str) -> load.Answer:
    before, behind = load.multipart(fields, "large.bin")
    length = len(before) + mebibytes * MIB + len(behind)

    def pieces() -> Iterator[bytes]:
        yield load.head("POST", path, length, _FORM) + before
        for _ in range(mebibytes):
            yield _PIECE
        yield behind

    return load.stream(address, pieces(), _LIMIT_S)


def _upload_raw(address: load.Address, path: str, mebibytes: int) -> load.Answer:
    def pieces() -> Iterator[bytes]:
        yield load.head("POST", path, mebibytes * MIB, "application/octet-stream")
        for _ in range(mebibytes):
            yield _PIECE

    return load.stream(address, pieces(), _LIMIT_S)


def _require_size(path: Path, mebibytes: int) -> None:
    if path.stat().st_size != mebibytes * MIB:
        raise PieceError(f"{path.stat().st_size} bytes were written")


def _size(mebibytes: int) -> str:
    return f"{mebibytes // 1024} GiB" if mebibytes >= 1024 else f"{mebibytes} MiB"
