"""Progress and log lines of processes that a processor forks: they have a socket of their own to the server.

A fork shares the child's socket, and what both wrote there would mix. On this one, each note is a datagram: whole, or
not there at all. It carries no other message, so that no fork can speak for the child.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator

from service.forks import hold_stderr, identity_of, say
from service.processors.base import LogNote, Note, ProgressNote
from service.worker.allowance import Allowance
from service.worker.frames import LENGTH_BYTES, FrameError, unpack

NOTES_BURST, NOTES_PER_S = 2000, 200
NOTES_AT_ONCE, PAUSE_S = 50, 0.002
_BUFFER_BYTES = 256 * 1024  # more than the longest note; some systems let a datagram be no longer than this
_LAST_READS = 2000
_LOG_LINE = b'{"LogNote"'
_LOST = b"progress and log lines of this forked process are lost: it closed the descriptor that they go through\n"


class ForkedChannel:
    """The end that forks write to. Where the server is slow to read they wait; where it has gone, nobody hears them.

    A fork that closes all that it has inherited, as a daemon does, closes this too; it says so once, where it can, and
    writes nothing into what may have its number now.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._identity = identity_of(connection.fileno())
        hold_stderr()
        self._lost_in = 0

    def send(self, frame: bytes) -> None:
        """Send a note that was made by `pack`."""
        with contextlib.suppress(OSError):
            if identity_of(self._connection.fileno()) == self._identity:
                self._connection.send(frame)
            elif self._lost_in != os.getpid():
                self._lost_in = os.getpid()
                say(_LOST)


class ForkedNotes:
    """The end that the server reads. What comes too fast is dropped and, where it was log lines, counted."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)  # noqa: FBT003
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._loop = asyncio.get_running_loop()
        self._emit: Callable[[Note], None] | None = None
        self._allowance = self._full_allowance()
        self._dropped = 0
        self._pause: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def write_end(self) -> Iterator[socket.socket]:
        """Lend the end that the child inherits; it is closed here afterwards."""
        with self._theirs:
            yield self._theirs

    @contextlib.contextmanager
    def passed_to(self, emit: Callable[[Note], None]) -> Iterator[None]:
        """Pass the notes that come in the meantime to `emit`; at the end of an attempt no fork of it is left."""
        self._take(_LAST_READS)  # what came after the last job belongs to nobody
        self._emit, self._allowance, self._dropped = emit, self._full_allowance(), 0
        self._start_reading()
        try:
            yield
        finally:
            self._stop_reading()
            self._take(_LAST_READS)
            self._tell_dropped()
            self._emit = None

    def close(self) -> None:
        """Give both ends back."""
        self._stop_reading()
        self._ours.close()
        self._theirs.close()

    def _full_allowance(self) -> Allowance:
        return Allowance(NOTES_BURST, NOTES_PER_S, self._loop.time)

    def _on_readable(self) -> None:
        self._stop_reading()
        if self._take(NOTES_AT_ONCE):  # a flood must not keep the loop from others
            self._pause = self._loop.call_later(PAUSE_S, self._start_reading)

    def _start_reading(self) -> None:
        if self._ours.fileno() >= 0:
            self._loop.add_reader(self._ours.fileno(), self._on_readable)

    def _stop_reading(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if self._ours.fileno() >= 0:
            self._loop.remove_reader(self._ours.fileno())

    def _take(self, limit: int) -> bool:
        """Take up to so many notes; return whether more can come, which is not so when somebody shut the socket."""
        try:
            for _ in range(limit):
                if not (datagram := self._ours.recv(_BUFFER_BYTES)):
                    return False
                self._pass_on(datagram[LENGTH_BYTES:])
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _pass_on(self, body: bytes) -> None:
        if self._emit is None:
            return
        if not self._allowance.take():
            self._dropped += body.startswith(_LOG_LINE)
            return
        self._tell_dropped()
        with contextlib.suppress(FrameError):  # any code may run there; what is no note is nothing
            if isinstance(note := unpack(body), ProgressNote | LogNote):
                self._emit(note)

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped and self._emit is not None:
            self._emit(LogNote(f"{dropped} log lines of forked processes were dropped: they came too fast", {}))
