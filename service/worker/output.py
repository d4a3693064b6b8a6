"""What a child process prints, as lines of the job's log."""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable, Iterator

from service.processors.base import LogNote, Note
from service.worker.allowance import Allowance

PIPE_BYTES = 1024**2
READ_BYTES = 64 * 1024
BURST_BYTES, BYTES_PER_S, TOTAL_BYTES = 64 * 1024, 2048, 1024**2
LINE_BYTES = 2000
TAIL_BYTES = 4096
FLOOD_PAUSE_S, LULL_PAUSE_S = 0.002, 0.25
_LAST_READS = 64


class OutputPipe:
    """A pipe for standard output or standard error; each line of it becomes a `LogNote` that names the stream.

    A burst is kept, and after that so much a second. Beyond that, bytes are dropped without a look at them and
    counted: by the kernel where it can (splice(2)), so that a processor that prints a gigabyte is neither held
    up nor a burden on the event loop. The last `TAIL_BYTES` of the output are always kept.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._read_end, self._write_end, self._sink = _opened()
        self._emit: Callable[[Note], None] | None = None
        self._allowance = self._full_allowance()
        self._line = b""
        self._dropped_bytes = 0
        self._is_open = True
        self._pause: asyncio.TimerHandle | None = None
        self._is_lent = False
        self._loop.add_reader(self._read_end, self._on_readable)

    @contextlib.contextmanager
    def write_end(self) -> Iterator[int]:
        """Lend the end that the child writes to; it is closed here afterwards."""
        self._is_lent = True
        try:
            yield self._write_end
        finally:
            os.close(self._write_end)

    @contextlib.contextmanager
    def passed_to(self, emit: Callable[[Note], None]) -> Iterator[None]:
        """Pass what is printed in the meantime to `emit`, line by line."""
        self._drop_all()  # what was printed after the last job belongs to nobody
        self._emit, self._allowance, self._line, self._dropped_bytes = emit, self._full_allowance(), b"", 0
        try:
            yield
        finally:
            self._keep_last()
            self._emit = None

    def close(self) -> None:
        """Stop reading."""
        self._is_open = False
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        os.close(self._sink)
        if not self._is_lent:
            os.close(self._write_end)

    def _full_allowance(self) -> Allowance:
        return Allowance(BURST_BYTES, BYTES_PER_S, self._loop.time, TOTAL_BYTES)

    # ---- while it runs

    def _on_readable(self) -> None:
        if (room := int(self._allowance.left)) >= min(LINE_BYTES, self._waiting_bytes):
            if not self._take(min(room, READ_BYTES)):
                self._loop.remove_reader(self._read_end)  # every writer has gone
        elif self._waiting_bytes > TAIL_BYTES:
            self._drop(self._waiting_bytes - TAIL_BYTES)
            self._pause_for(FLOOD_PAUSE_S)
        else:
            self._pause_for(LULL_PAUSE_S)

    def _pause_for(self, seconds: float) -> None:
        self._loop.remove_reader(self._read_end)
        self._pause = self._loop.call_later(seconds, self._loop.add_reader, self._read_end, self._on_readable)

    @property
    def _waiting_bytes(self) -> int:
        """How much is in the pipe."""
        return int(struct.unpack("i", fcntl.ioctl(self._read_end, termios.FIONREAD, b"\0" * 4))[0])

    def _take(self, limit: int) -> bool:
        """Read up to `limit` bytes and pass them on; return whether there was anything."""
        data = os.read(self._read_end, max(limit, 1))
        if self._emit is not None:
            self._allowance.take(len(data))
            if data:
                self._tell_dropped()
            self._split(data)
        return bool(data)

    def _drop(self, count: int) -> int:
        """Take `count` bytes off the pipe; return how many were taken."""
        if hasattr(os, "splice"):
            dropped = os.splice(self._read_end, self._sink, count)
        else:
            dropped = len(os.read(self._read_end, min(count, READ_BYTES)))
        self._dropped_bytes += dropped
        return dropped

    # ---- between two jobs, and at the end of one

    def _drop_all(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LAST_READS):
                if not (self._is_open and (waiting := self._waiting_bytes) and self._drop(waiting)):
                    return

    def _keep_last(self) -> None:
        """Take what is in the pipe at this moment: as much as is allowed, or the tail of it."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LAST_READS):
                if not (self._is_open and (waiting := self._waiting_bytes)):
                    break
                room = max(int(self._allowance.left), TAIL_BYTES)
                if waiting > room:
                    self._drop(waiting - room)
                self._take(min(room, READ_BYTES))
        self._tell_dropped()
        self._say(self._line)

    # ---- lines

    def _tell_dropped(self) -> None:
        dropped, self._dropped_bytes = self._dropped_bytes, 0
        if dropped:
            self._say(self._line)
            self._line = b""
            self._note(f"{dropped} bytes were dropped here: too much was printed")

    def _split(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._line) > LINE_BYTES:  # the rest of so long a line is not kept anyway
            self._line = self._line[:LINE_BYTES]

    def _say(self, line: bytes) -> None:
        text = line[:LINE_BYTES].decode(errors="replace").replace("\0", "").rstrip()
        if text:
            self._note(text)

    def _note(self, text: str) -> None:
        if self._emit is not None:
            self._emit(LogNote(text, {"stream": self._stream}))


def _opened() -> tuple[int, int, int]:
    """Open a pipe and the null device: all three ends, or none."""
    with contextlib.ExitStack() as undo:
        read_end, write_end = os.pipe()
        undo.callback(os.close, read_end)
        undo.callback(os.close, write_end)
        os.set_blocking(read_end, False)
        with contextlib.suppress(OSError, AttributeError):  # a user may hold only so many large pipes
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        sink = os.open(os.devnull, os.O_WRONLY)
        _ = undo.pop_all()
    return read_end, write_end, sink
