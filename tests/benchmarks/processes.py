"""Processes that the benchmark starts: each in a session of its own, and none outlives its piece of work."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.rows import PieceError

POLL_S = 0.005
_STOP_S = 3.0
_TAIL_CHARS = 2000
KIB = 1024


class Process:
    """A process with its session, and a file with what it says."""

    def __init__(
        self, command: Sequence[object], log: Path, env: Mapping[str, str], *, user: str | None = None
    ) -> None:
        self.log = log
        self.name = str(command[0])
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [*map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=log.parent,
                start_new_session=True,
                user=user,
                extra_groups=[] if user else None,
            )

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._popen.pid

    @property
    def said(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:].strip()

    def require_alive(self) -> None:
        """Raise `PieceError`, with its last words, when it has ended."""
        if (code := self._popen.poll()) is not None:
            raise PieceError(f"{self.name} ended with {code}: {self.said}")

    def wait(self, limit_s: float) -> None:
        """Wait for its good end.

        Raises:
            PieceError: it failed, or took longer.
        """
        try:
            code = self._popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise PieceError(f"{self.name} took longer than {limit_s:g} s: {self.said}") from None
        if code:
            raise PieceError(f"{self.name} ended with {code}: {self.said}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and its group: politely, then for sure."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def poll(until_s: float, what: str, *processes: Process) -> Iterator[None]:
    """Yield every few milliseconds; use as `for _ in poll(…): if done: break`.

    Raises:
        PieceError: the time is over, or one of the processes has ended.
    """
    deadline = time.monotonic() + until_s
    while time.monotonic() < deadline:
        yield
        for process in processes:
            process.require_alive()
        time.sleep(POLL_S)
    raise PieceError(f"{what} took longer than {until_s:g} s")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_listening(process: Process, port: int, limit_s: float = 30) -> None:
    """Return when something listens on the port."""
    for _ in poll(limit_s, f"the start of {process.name}", process):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return


# ---- memory


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 once it is gone."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the highest resident memory since the start, or since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the kernel count the peak anew; see proc(5), clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text(encoding="ascii").split()):
                found += [child, *descendants(child)]
    return found


def _status(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith(name + ":")), 0)
