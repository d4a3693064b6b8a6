"""A real `filemill serve`, as production runs it, on a folder of the piece of work."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import load
from tests.benchmarks.lab import Piece
from tests.benchmarks.peers.tally import Tally
from tests.benchmarks.processes import Process, poll
from tests.benchmarks.rows import PieceError

WORKLOADS = Path(__file__).with_name("workloads.py")
JOBS = "/v1/jobs"
START_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens."""

    process: Process
    address: load.Address
    tally: Tally
    ready_s: float

    def get(self, path: str) -> Any:
        """Return a JSON document."""
        return load.call(self.address, load.head("GET", path)).require(200).json()

    def submit(self, processor: str, **params: Any) -> str:
        """Submit a job without files; return its id."""
        request = load.json_request(JOBS, {"processor": processor, "params": params})
        return str(load.call(self.address, request).require(202).json()["id"])

    def wait_state(self, job_id: str, state: str, limit_s: float = 30) -> None:
        """Return when the job is in this state."""
        for _ in poll(limit_s, f"the wait for {state}", self.process):
            if self.get(f"{JOBS}/{job_id}")["state"] == state:
                return

    def wait_finished(self, job_id: str, limit_s: float) -> None:
        """Return when the job has finished; the server is asked once a minute, so that asking is no load."""
        request = load.head("GET", f"{JOBS}/{job_id}", prefer="wait=60")
        for _ in poll(limit_s, "the wait for a job", self.process):
            if load.call(self.address, request).require(200).json()["finished_at"]:
                return

    def wait_settled(self, limit_s: float) -> int:
        """Return when no job is queued or running: the monotonic clock, in nanoseconds.

        It asks all the time: wait for the last job by other means before, or asking becomes the load.
        """
        for _ in poll(limit_s, "the end of all jobs", self.process):
            if not any(self.get(f"{JOBS}?state={state}&limit=1")["items"] for state in ("queued", "running")):
                return time.monotonic_ns()
        raise AssertionError

    def require_none_failed(self) -> None:
        """Raise `PieceError` when a job has failed: the figures would mean nothing."""
        if failed := self.get(f"{JOBS}?state=failed&limit=1")["items"]:
            raise PieceError(f"a job failed: {failed[0]['error']}")


def start_filemill(piece: Piece, *, folder: str = "data", slots: int = 1, **settings: Any) -> Server:
    """Start a server on `folder`, and return when it is ready; `slots` are those of its tally."""
    data = piece.folder / folder
    tally_path = piece.folder / f"{folder}.tally"
    tally = Tally(tally_path, slots)
    variables = {f"FILEMILL_{name.upper()}": value for name, value in settings.items()}
    (data / "server.json").unlink(missing_ok=True)
    began = time.monotonic()
    process = piece.start(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", data],
        BENCH_TALLY=tally_path,
        FILEMILL_PROCESSORS=WORKLOADS,
        **variables,
    )
    address = _address(data / "server.json", process)
    load.call(address, load.head("GET", "/readyz")).require(200)
    return Server(process, address, tally, time.monotonic() - began)


def _address(path: Path, process: Process) -> load.Address:
    for _ in poll(START_LIMIT_S, "the start of Filemill", process):
        if path.exists():
            break
    host, _, port = json.loads(path.read_bytes())["url"].removeprefix("http://").rpartition(":")
    return host, int(port)
