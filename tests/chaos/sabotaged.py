"""The other side of the saboteur: a server that a test gives orders to."""

import contextlib
import json
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.acceptance.server import STOP_LIMIT_S, Server

ORDER_LIMIT_S = 60


class SabotagedServer(Server):
    """A server that dies, or meets a fault, at the step that it is told to."""

    def __init__(self, data_dir: Path, socket_path: Path, **settings: str | float | Path) -> None:
        super().__init__(data_dir, **settings)  # type: ignore[arg-type]  # settings, and no arguments
        self._socket_path = str(socket_path)
        self.launcher = (sys.executable, "-m", "tests.chaos.saboteur", self._socket_path)

    def order(self, **order: Any) -> dict[str, int]:
        """Give an order, in place of the one before; return how often each point was passed since that one."""
        return self._ask(order)

    def look(self) -> dict[str, float]:
        """Return what only the process itself can see: `tasks`, `children`, `lag_s`."""
        return self._ask({"look": True})

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ORDER_LIMIT_S)
            connection.connect(self._socket_path)
            with connection.makefile("rw") as stream:
                stream.write(json.dumps(order) + "\n")
                stream.flush()
                answer: dict[str, Any] = json.loads(stream.readline())
                return answer

    def spawn_with(self, **order: Any) -> None:
        """Start a process that has its order from the beginning."""
        Path(self._socket_path).with_suffix(".json").write_text(json.dumps(order))
        self.spawn()

    def require_killed(self) -> None:
        """Wait until it has died by its own hand."""
        code = self.process.wait(STOP_LIMIT_S)
        assert code == -signal.SIGKILL, f"it ended with {code}:\n{self.output}"


@contextlib.contextmanager
def run_sabotaged(data_dir: Path, **settings: str | float | Path) -> Iterator[SabotagedServer]:
    """Run such a server while the block runs; no process outlives the block."""
    folder = tempfile.mkdtemp(prefix="fm")  # the path of a Unix socket must be short
    server = SabotagedServer(data_dir, Path(folder, "s"), **settings)
    try:
        server.start()
        yield server
    finally:
        server.destroy()
        shutil.rmtree(folder, ignore_errors=True)
