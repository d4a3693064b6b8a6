"""The child's side of progress and log lines, and that of its forks: what is sent, how often, how large it may be."""

import os
import threading
from dataclasses import replace
from typing import NoReturn

from service.clock import SystemClock
from service.processors.base import LogNote, Note, ProgressNote
from service.worker.allowance import Allowance
from service.worker.forked import ForkedChannel
from service.worker.frames import Channel, pack
from service.worker.plain import plain_fields, plain_text

PROGRESS_BURST, PROGRESS_PER_S = 20, 50
LINES_BURST, LINES_PER_S = 1000, 20
MAX_FIELDS_CHARS = 64 * 1024
_DROPPING = "log lines of this forked process are dropped from here: they came too fast"
_NOT_SENT = (
    "a job cannot be sent to another process (spawn, forkserver, or an argument of a pool's task): "
    "send it paths and values; a process that is forked while the processor runs can use the job that it finds there"
)


class Notes:
    """Passes the notes of one attempt to the server, until it ends.

    Of progress that comes too fast, the newest is kept and sent with the next. Log lines that come too fast are
    dropped, and counted. In a process that the processor has forked, they go to `forked`, by allowances of its own.
    """

    def __init__(self, channel: Channel, forked: ForkedChannel) -> None:
        self._forked = forked
        self._is_open = True
        self._begin(channel)

    def _begin(self, channel: Channel | ForkedChannel) -> None:
        clock = SystemClock()
        self._progress_left = Allowance(PROGRESS_BURST, PROGRESS_PER_S, clock.monotonic)
        self._lines_left = Allowance(LINES_BURST, LINES_PER_S, clock.monotonic)
        self._lock = threading.Lock()  # in a fork, a thread that is not there may hold the one before
        self._held: ProgressNote | None = None
        self._dropped = 0
        self._channel = channel
        self._pid = os.getpid()

    def close(self) -> None:
        """Send what is held; a thread that the processor left running has no say any more."""
        with self._lock:
            self._is_open = False
            self._send_held()
            self._tell_dropped()

    def emit(self, note: Note) -> None:
        """Send a note, or hold it back."""
        if os.getpid() != self._pid:  # a fork must not write into this process's socket
            self._begin(self._forked)
        with self._lock:
            if self._is_open:
                self._emit(note)

    def _emit(self, note: Note) -> None:
        match note:
            case ProgressNote():
                self._held = note
                if self._progress_left.take():
                    self._send_held()
            case LogNote() if self._lines_left.take():
                self._send_held()
                self._tell_dropped()
                self._channel.send(_frame(note))
            case LogNote():
                self._dropped += 1
                if self._dropped == 1 and self._channel is self._forked:  # a fork has no end at which it could tell
                    self._channel.send(pack(LogNote(_DROPPING, {"pid": self._pid})))

    def __reduce__(self) -> NoReturn:
        raise TypeError(_NOT_SENT)

    def _send_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._channel.send(pack(replace(held, message=plain_text(held.message))))

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._channel.send(pack(LogNote(f"{dropped} log lines were dropped: they came too fast", {})))


def _frame(note: LogNote) -> bytes:
    return pack(LogNote(plain_text(note.message), plain_fields(note.fields, MAX_FIELDS_CHARS)))
