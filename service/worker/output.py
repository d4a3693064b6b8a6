"""What a child process prints, as lines of the job's log."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

from service.processors.base import LogNote, Note

READ_BYTES = 64 * 1024
BUDGET_BYTES = 64 * 1024
LINE_BYTES = 2000
PAUSE_S = 0.01
_LAST_READS = 16


class OutputPipe:
    """A pipe for standard output and standard error; each line of it becomes a `LogNote`.

    At most `BUDGET_BYTES` are kept for each job. The rest is read and dropped at a leisurely pace, so that a
    processor that prints without end waits for the pipe, and not the event loop for the processor.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._emit: Callable[[Note], None] | None = None
        self._left_bytes = 0
        self._line = b""
        self._is_open = True
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._read_end, self._on_readable)

    @contextlib.contextmanager
    def write_end(self) -> Iterator[int]:
        """Lend the end that the child writes to; it is closed here afterwards."""
        try:
            yield self._write_end
        finally:
            os.close(self._write_end)

    @contextlib.contextmanager
    def passed_to(self, emit: Callable[[Note], None]) -> Iterator[None]:
        """Pass what is printed in the meantime to `emit`, line by line."""
        self._drain()  # what was printed after the last job belongs to nobody
        self._emit, self._left_bytes, self._line = emit, BUDGET_BYTES, b""
        try:
            yield
        finally:
            self._drain()
            self._say(self._line)
            self._emit = None

    def close(self) -> None:
        """Stop reading."""
        self._is_open = False
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)

    def _on_readable(self) -> None:
        if not self._read():
            self._loop.remove_reader(self._read_end)  # every writer has gone
        elif self._left_bytes <= 0:
            self._loop.remove_reader(self._read_end)
            self._pause = self._loop.call_later(PAUSE_S, self._loop.add_reader, self._read_end, self._on_readable)

    def _drain(self) -> None:
        """Take what is in the pipe at this moment."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LAST_READS):
                if not (self._is_open and self._read()):
                    return

    def _read(self) -> bool:
        data = os.read(self._read_end, READ_BYTES)
        if self._emit is not None and self._left_bytes > 0:
            self._split(data[: self._left_bytes])
            self._left_bytes -= len(data)
            if self._left_bytes <= 0:
                self._say(self._line)
                self._line = b""
                self._emit(LogNote(f"only the first {BUDGET_BYTES} bytes of the output are kept", {}))
        return bool(data)

    def _split(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._say(line)

    def _say(self, line: bytes) -> None:
        text = line[:LINE_BYTES].decode(errors="replace").replace("\0", "").rstrip()
        if text and self._emit is not None:
            self._emit(LogNote(text, {"source": "output"}))
