"""The peers that are web applications, under uvicorn as production runs it: uvloop, httptools, no access log."""

from dataclasses import dataclass
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.lab import Piece
from tests.benchmarks.processes import Process, free_port, wait_listening


@dataclass(frozen=True, slots=True)
class WebApp:
    """An application that listens."""

    process: Process
    address: load.Address


def start_app(piece: Piece, module: str, environment: str = "fastapi", **variables: Any) -> WebApp:
    """Start the application `app` of a module of `tests.benchmarks.peers`."""
    port = free_port()
    process = piece.start(
        [
            *(piece.python_of(environment), "-m", "uvicorn", f"tests.benchmarks.peers.{module}:app"),
            *("--port", port, "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            *("--log-level", "warning", "--lifespan", "off"),
        ],
        BENCH_FOLDER=piece.folder,
        **variables,
    )
    wait_listening(process, port)
    return WebApp(process, ("127.0.0.1", port))
