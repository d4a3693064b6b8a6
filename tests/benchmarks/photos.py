"""Photos to thumbnails of 800 pixels: from the first byte of the first upload until the last output is there.

Beside Filemill stands what it is meant to replace: FastAPI takes the upload in pieces of 1 MiB, Celery (prefork, one
process to a core, results ignored) makes the thumbnail with the same libvips and the same settings, Redis keeps nothing
on disk. Both take the uploads over 8 connections.

The second family leaves HTTP uploads out: the photo is stored once, and the jobs name it; beside bare libvips in as
many processes as there are cores, after each has loaded it and made one thumbnail.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import load
from tests.benchmarks.filemill import JOBS, Server, start_filemill
from tests.benchmarks.lab import Piece
from tests.benchmarks.pictures import CAMERA, PHONE, photo
from tests.benchmarks.processes import poll
from tests.benchmarks.rows import OURS, Contestant, Family, Figures, Must, Row, Scale
from tests.benchmarks.servers import start_redis
from tests.benchmarks.webapps import start_app

CELERY, BARE = "FastAPI + Celery + Redis", "bare pyvips"
_PROCESSOR, _WIDTH = "image.thumbnail", 800
_CONNECTIONS = 8
_WARM_UPS = 4
_LIMIT_S = 240.0


def photos(scale: Scale) -> Family:
    """Return the row from upload to output."""
    count = scale.pick(300, 60, 4)
    size = f"{PHONE[0] * PHONE[1] // 1_000_000} megapixels"
    return Family(
        name="photo",
        about="photos to thumbnails, end to end",
        rows=(
            Row(
                "photo",
                f"{count} photos of {size} to {_WIDTH} px, upload to output",
                "per s",
                "more",
                (Must(CELERY, at_least=1.5),),
            ),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _filemill(piece, count)),
            Contestant(CELERY, "peer", lambda piece: _celery(piece, count)),
        ),
        limit_s=_LIMIT_S,
    )


def large_photos(scale: Scale) -> Family:
    """Return the row beside bare libvips."""
    count = scale.pick(200, 40, 4)
    size = f"{CAMERA[0] * CAMERA[1] // 1_000_000} megapixels"
    return Family(
        name="vips",
        about="photos to thumbnails, without uploads",
        rows=(
            Row(
                "vips",
                f"{count} photos of {size} to {_WIDTH} px, stored before",
                "per s",
                "more",
                (Must(BARE, at_least=0.9),),
            ),
        ),
        contestants=(
            Contestant(OURS, "ours", lambda piece: _stored(piece, count)),
            Contestant(BARE, "beside", lambda piece: _bare(piece, count)),
        ),
        limit_s=_LIMIT_S,
    )


# ---- from upload to output


def _filemill(piece: Piece, count: int) -> Figures:
    server = start_filemill(piece)
    fields = {"processor": _PROCESSOR, "params": json.dumps({"width": _WIDTH})}
    request = load.form_request(JOBS, fields, "photo.jpg", photo(piece.lab, PHONE).read_bytes())
    _settle(server, request, _WARM_UPS)

    began_ns = time.monotonic_ns()
    seconds = (_settle(server, request, count) - began_ns) / 1e9
    server.require_none_failed()
    return {"photo": count / seconds}


def _celery(piece: Piece, count: int) -> Figures:
    outputs = piece.folder / "out"
    for folder in (piece.folder / "in", outputs):
        folder.mkdir()
    redis = start_redis(piece)
    app = start_app(piece, "photos_celery", "photos", BENCH_REDIS=redis, TMPDIR=piece.folder)
    piece.start(
        [
            *(piece.python_of("photos"), "-m", "celery"),
            *("--app", "tests.benchmarks.peers.photos_celery:celery", "worker"),
            *("--concurrency", piece.cores, "--loglevel", "ERROR"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        BENCH_REDIS=redis,
        BENCH_FOLDER=piece.folder,
        VIPS_CONCURRENCY=1,
    )
    request = load.form_request("/photos", {}, "photo.jpg", photo(piece.lab, PHONE).read_bytes())
    _send(app.address, request, _WARM_UPS)
    _wait(lambda: _count(outputs) == _WARM_UPS)

    began = time.perf_counter()
    _send(app.address, request, count)
    _wait(lambda: _count(outputs) == _WARM_UPS + count)
    return {"photo": count / (time.perf_counter() - began)}


def _send(address: load.Address, request: bytes, count: int) -> list[load.Answer]:
    answers = load.closed_loop(address, [request] * count, min(_CONNECTIONS, count), _LIMIT_S)
    return [answer.require(202) for answer in answers]


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _wait(is_done: Callable[[], bool]) -> None:
    for _ in poll(_LIMIT_S, "the thumbnails"):
        if is_done():
            return


# ---- stored before


def _stored(piece: Piece, count: int) -> Figures:
    server = start_filemill(piece)
    content = photo(piece.lab, CAMERA).read_bytes()
    stored = load.call(server.address, load.form_request("/v1/files", {}, "photo.jpg", content)).require(201).json()
    request = load.json_request(JOBS, {"processor": _PROCESSOR, "params": {"width": _WIDTH}, "files": [stored["id"]]})
    _settle(server, request, 2 * piece.cores)
    began_ns = time.monotonic_ns()
    ended_ns = _settle(server, request, count)
    server.require_none_failed()
    return {"vips": count / ((ended_ns - began_ns) / 1e9)}


def _settle(server: Server, request: bytes, count: int) -> int:
    """Send so many; return the monotonic clock when all are settled. The one accepted last is about the last to run."""
    last = _send(server.address, request, count)[-1]
    server.wait_finished(last.json()["id"], _LIMIT_S)
    return server.wait_settled(_LIMIT_S)


def _bare(piece: Piece, count: int) -> Figures:
    path = photo(piece.lab, CAMERA)
    script = (sys.executable, "-m", "tests.benchmarks.peers.bare_vips")
    processes = [
        piece.start(
            [*script, path, piece.folder, number, piece.cores, count],
            VIPS_CONCURRENCY=1,
        )
        for number in range(piece.cores)
    ]
    for process in processes:
        process.wait(_LIMIT_S)
    spans = [json.loads(process.said) for process in processes]
    return {"vips": count / (max(span["ended"] for span in spans) - min(span["began"] for span in spans))}
