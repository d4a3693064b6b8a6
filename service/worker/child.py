"""The child process: `python -m service.worker.child FD PARENT_PID`, started by `service.worker.children`.

It loads the processors once, then runs one assignment after another. It talks to the server over a socket of
its own, so what a processor prints cannot reach the protocol: descriptors 1 and 2 are a pipe that the server
reads. It ends when the server ends.
"""

import contextlib
import ctypes
import faulthandler
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.clock import SystemClock
from service.errors import ProcessorLoadError
from service.processors.base import JobContext, LogNote, Note, ProgressNote
from service.processors.registry import Registry, load_registry
from service.worker.frames import MAX_FRAME_BYTES, Channel, Hello, Ready, Work, pack
from service.worker.runner import (
    Assignment,
    Broke,
    Refused,
    Returned,
    Verdict,
    context_of,
    returned,
    verdict_of,
)

NICENESS = 10
PROGRESS_INTERVAL_S = 0.02
PROGRESS_BURST = 20
MAX_NOTE_BYTES = 64 * 1024
MAX_MESSAGE_CHARS = 2000
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the server closes the socket."""
    descriptor, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent_pid)
    _step_back()
    os.set_inheritable(descriptor, False)  # noqa: FBT003
    channel = Channel(socket.socket(fileno=descriptor))
    registry = _load(channel)
    while isinstance(work := channel.receive(), Work):
        channel.send(_frame_of(_run(work, registry, channel)))


# ---- at the start


def _die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the server dies, however it dies; see prctl(2)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the kernel knew
        raise SystemExit(1)


def _step_back() -> None:
    """Leave processor time to the API, and be the first to go when memory runs out."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def _load(channel: Channel) -> Registry:
    hello = channel.receive()
    if not isinstance(hello, Hello):
        raise SystemExit(1)
    sys.path[:] = hello.path
    os.environ.pop("PYTHONPATH", None)  # it was only there to find this module
    if hello.python_path is not None:
        os.environ["PYTHONPATH"] = hello.python_path
    try:
        registry = load_registry(hello.processors_spec)
    except ProcessorLoadError as error:
        channel.send(pack(Broke("crashed", f"the child process cannot load {error}"[:MAX_MESSAGE_CHARS])))
        raise SystemExit(1) from None
    channel.send(pack(Ready()))
    return registry


# ---- one assignment


def _run(work: Work, registry: Registry, channel: Channel) -> Verdict:
    processor = registry.find(work.processor)
    if processor is None:
        return Broke("crashed", f"the child process has no processor {work.processor!r}")
    notes = _Notes(channel)
    job = context_of(_assignment(work, processor), notes.emit)
    with _inside(job.folder), contextlib.closing(notes):
        return _call(job, processor.function, processor.arguments(work.params))


def _assignment(work: Work, processor: Any) -> Assignment:
    return Assignment(
        job_id=work.job_id,
        attempt=work.attempt,
        max_attempts=work.max_attempts,
        processor=processor,
        params=work.params,
        metadata=work.metadata,
        files=work.files,
        folder=work.folder,
        timeout_s=0,  # the server watches the time
    )


def _call(job: JobContext, function: Any, arguments: dict[str, Any]) -> Verdict:
    pid = os.getpid()
    try:
        return returned(function(job, **arguments), job)
    except MemoryError:
        return Broke("out_of_memory", "the processor ran out of memory")
    except Exception as error:  # noqa: BLE001 - whatever a processor raises is its verdict
        return verdict_of(error)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a processor ends the attempt, not the child
        return Broke("failed", f"the processor raised {type(error).__name__}: {error}"[:MAX_MESSAGE_CHARS])
    finally:
        if os.getpid() != pid:  # a fork that the processor left running has no say here
            os._exit(0)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in the attempt's own folder, where temporary files are removed with it."""
    home = Path.cwd()
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.chdir(home)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()


# ---- what is sent


def _frame_of(verdict: Verdict) -> bytes:
    """Return the verdict's frame, cut down to what the server takes."""
    try:
        frame = pack(verdict)
    except ValueError as error:  # such as a string with half a surrogate pair
        return pack(Refused("invalid_result", f"the processor returned what is not JSON: {error}"[:MAX_MESSAGE_CHARS]))
    if len(frame) <= MAX_FRAME_BYTES:
        return frame
    match verdict:
        case Returned():
            sizes = f"{len(frame)} bytes of JSON, and at most {MAX_FRAME_BYTES} fit"
            return pack(Refused("result_too_large", f"the result has {sizes}; write it to an output file instead"))
        case Broke() | Refused():
            return pack(replace(verdict, message=verdict.message[:MAX_MESSAGE_CHARS]))
        case _:
            return frame


class _Notes:
    """Passes the notes of one attempt to the server, until it ends.

    Progress beyond a burst is thinned out: of what comes too fast, the newest is kept and sent with the next.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._clock = SystemClock()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_open = True
        self._next_at = 0.0
        self._held: ProgressNote | None = None

    def close(self) -> None:
        """Send what is held; a thread that the processor left running has no say any more."""
        with self._lock:
            self._is_open = False
            self._send_held()

    def emit(self, note: Note) -> None:
        if os.getpid() != self._pid:  # a fork must not write into this process's socket
            return
        with self._lock:
            if self._is_open:
                self._emit(note)

    def _emit(self, note: Note) -> None:
        match note:
            case ProgressNote():
                self._held = note
                if self._has_room():
                    self._send_held()
            case LogNote():
                self._send_held()
                self._channel.send(_note_frame(note))

    def _has_room(self) -> bool:
        """Return whether one more may go: each takes an interval, and a burst of them may be saved up."""
        now = self._clock.monotonic()
        if self._next_at > now:
            return False
        self._next_at = max(self._next_at, now - PROGRESS_BURST * PROGRESS_INTERVAL_S) + PROGRESS_INTERVAL_S
        return True

    def _send_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._channel.send(pack(replace(held, message=str(held.message)[:MAX_MESSAGE_CHARS])))


def _note_frame(note: LogNote) -> bytes:
    """Return the frame of a log line; fields that are not JSON are sent as their `repr`."""
    message = str(note.message)[:MAX_MESSAGE_CHARS]
    try:
        frame = pack(LogNote(message, note.fields))
    except ValueError:
        frame = pack(LogNote(message, {name: ascii(value) for name, value in note.fields.items()}))
    return frame if len(frame) <= MAX_NOTE_BYTES else pack(LogNote(message, {"dropped": "fields too large"}))


if __name__ == "__main__":
    main()
