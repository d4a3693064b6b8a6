"""The place of work: a folder for each piece, its processes and servers, and the end of them all."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.acceptance.server import clean_environment
from tests.benchmarks.environments import Environments
from tests.benchmarks.processes import Process
from tests.benchmarks.rows import PieceError, Scale


@dataclass(slots=True)
class Lab:
    """What all pieces share.

    `folder` is on the disk to be measured; `cache` keeps environments and test files; `models` are the databases
    that are made once in a run.
    """

    folder: Path
    cache: Path
    models: Path
    scale: Scale
    environments: Environments = field(init=False)

    def __post_init__(self) -> None:
        self.environments = Environments(self.cache / "environments")

    @contextlib.contextmanager
    def piece(self, limit_s: float) -> Iterator["Piece"]:
        """Give a piece of work its folder; afterwards its processes are ended and the folder is gone.

        Raises:
            PieceError: it took longer than `limit_s`.
        """
        os.sync()  # what the one before left to be written must not burden this one
        folder = Path(tempfile.mkdtemp(prefix="filemill-benchmark-", dir=self.folder))
        piece = Piece(self, folder)
        try:
            with _time_limit(limit_s):
                yield piece
        finally:
            piece.close()


@dataclass(slots=True)
class Piece:
    """One piece of work by one contestant."""

    lab: Lab
    folder: Path
    _processes: list[Process] = field(default_factory=list)
    _folders: list[Path] = field(default_factory=list)

    @property
    def scale(self) -> Scale:
        """How much work to do."""
        return self.lab.scale

    @property
    def cores(self) -> int:
        """How many processes can run at the same time."""
        return len(os.sched_getaffinity(0))

    def python_of(self, environment: str) -> Path:
        """Return the interpreter of a peer's environment, installed if need be."""
        with _no_time_limit():
            return self.lab.environments.python_of(environment)

    def start(
        self, command: Sequence[object], *, user: str | None = None, cwd: Path | None = None, **variables: Any
    ) -> Process:
        """Start a process that ends with this piece, if not before."""
        log = (cwd or self.folder) / f"process-{len(self._processes)}.log"
        process = Process(command, log, environment(variables), user=user)
        self._processes.append(process)
        return process

    def run_json(self, command: Sequence[object], limit_s: float, **variables: Any) -> Mapping[str, float]:
        """Run a script to its end; return the JSON object of its last line.

        Raises:
            PieceError: it failed, took longer, or printed something else.
        """
        process = self.start(command, **variables)
        process.wait(limit_s)
        lines = process.log.read_text(encoding="utf-8").splitlines()
        try:
            figures: dict[str, float] = json.loads(lines[-1])
        except (IndexError, ValueError):
            raise PieceError(f"{process.name} printed no figures: {process.said}") from None
        return figures

    def extra_folder(self) -> Path:
        """Return one more folder, for a server that runs as another user."""
        folder = Path(tempfile.mkdtemp(prefix="filemill-benchmark-", dir=self.lab.folder))
        self._folders.append(folder)
        return folder

    def close(self) -> None:
        """End the processes, the last one first, and remove the folders."""
        with _no_time_limit():
            for process in reversed(self._processes):
                process.end()
            for folder in (self.folder, *self._folders):
                shutil.rmtree(folder, ignore_errors=True)


def environment(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a process: no settings of Filemill but those given here."""
    return clean_environment() | {name: str(value) for name, value in variables.items()}


@contextlib.contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    """Raise `PieceError` in the block when the time is over. The alarm belongs to the main thread."""

    def ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal calls it so
        raise PieceError(f"given up after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _no_time_limit() -> Iterator[None]:
    """Stop the clock, for an installation or a clearing up that must not be cut short."""
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left_s)
