"""A real server process, for tests that must see what a user sees, also when it is killed.

with run_server(tmp_path / "data") as server:
    httpx.get(f"{server.url}/livez")
    server.kill()      # SIGKILL: as if the process had crashed
    server.start()     # on the same data folder, at another port
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from service.clock import SystemClock

REPOSITORY = Path(__file__).parents[2]
START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
POLL_S = 0.02

PROXY_VARIABLES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}


def clean_environment(**settings: str | float | Path) -> dict[str, str]:
    """Return an environment with these settings and no others: `consumers=4` becomes FILEMILL_CONSUMERS=4."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("FILEMILL_") and name.upper() not in {*PROXY_VARIABLES, "COLUMNS"}
    }
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return kept | {f"FILEMILL_{name.upper()}": str(value) for name, value in settings.items()}


class Server:
    """One data folder, and the process that serves it at the moment.

    `log` holds all that the processes said, over every restart; `url` is that of the running process. `launcher` is
    what stands before `serve`.
    """

    launcher: Sequence[str | Path] = (sys.executable, "-m", "service")

    def __init__(self, data_dir: Path, *, arguments: Sequence[str] = (), **settings: str | float | Path) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(data_dir.name + ".log")
        self.url = ""
        self.arguments = list(arguments)
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last; it may have ended."""
        assert self._process is not None, "the server was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """All that the server printed and logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def start(self) -> "Server":
        """Start a process on a free port and return when it listens.

        Raises:
            AssertionError: it ended or stayed silent; the message has its output.
        """
        self.spawn()
        return self.require_listening()

    def require_listening(self) -> "Server":
        """Wait until the process that was spawned listens."""
        deadline = SystemClock().monotonic() + START_LIMIT_S
        while (url := self._announced_url()) is None:
            # the wait for the end of the process is the pause between two looks at the file
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(POLL_S)
                raise AssertionError(f"the server ended with {code} before it listened:\n{self.output}")
            assert SystemClock().monotonic() < deadline, f"no server after {START_LIMIT_S} s:\n{self.output}"
        self.url = url
        return self

    def spawn(self) -> None:
        """Start a process, and return before it listens (or refuses to)."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # a read-only folder is the server's to complain of
            self._address.unlink(missing_ok=True)  # one that was killed leaves it behind
        command = [*self.launcher, "serve", "--port", "0", "--data-dir", str(self.data_dir)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self.arguments],
                env=clean_environment(**self.settings),
                cwd=self.data_dir.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def readiness(self, status: int) -> dict[str, str]:
        """Wait until /readyz answers with this status, and return its checks."""
        deadline = SystemClock().monotonic() + START_LIMIT_S
        while (answer := httpx.get(f"{self.url}/readyz", trust_env=False, timeout=START_LIMIT_S)).status_code != status:
            assert SystemClock().monotonic() < deadline, answer.text
            time.sleep(POLL_S)
        checks: dict[str, str] = answer.json()["checks"]
        return checks

    def stop(self) -> int:
        """Ask it to stop, as an operator does (SIGTERM), and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_LIMIT_S)

    def kill(self) -> None:
        """Kill the server process alone, as a crash does; its children are left to fend for themselves."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_LIMIT_S)

    def destroy(self) -> None:
        """Kill the server and every process of its session that is left, as a power cut does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_LIMIT_S)

    @property
    def _address(self) -> Path:
        return self.data_dir / "server.json"

    def _announced_url(self) -> str | None:
        """Return the address that the server announced, as soon as there is one."""
        try:
            return str(json.loads(self._address.read_bytes())["url"])
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def run_server(data_dir: Path, *, arguments: Sequence[str] = (), **settings: str | float | Path) -> Iterator[Server]:
    """Run a server on `data_dir` while the block runs; no process outlives the block.

    `settings` go into the environment (`consumers=4`), `arguments` behind `filemill serve`.
    """
    server = Server(data_dir, arguments=arguments, **settings)
    try:
        yield server.start()
    finally:
        server.destroy()
