"""The child process: `python -m service.worker.child FD FD_OF_FORKS PARENT_PID`, started by `service.worker.children`.

It loads the processors once, then runs one assignment after another. It talks to the server over a socket of
its own, so what a processor prints cannot reach the protocol: descriptors 1 and 2 are a pipe that the server
reads. It ends when the server ends.
"""

import contextlib
import errno
import faulthandler
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from service.clock import SystemClock
from service.errors import ProcessorLoadError
from service.forks import ForksEndHere
from service.processors.base import JobContext, Processor
from service.processors.calling import call
from service.processors.registry import Registry, load_registry
from service.worker.family import descendants, look_at, signal_all
from service.worker.forked import ForkedChannel
from service.worker.frames import MAX_FRAME_BYTES, Begun, Channel, Hello, Ready, Spent, Work, pack
from service.worker.helpers import TRACKER_LIMIT_S, let_go, set_aside, without_trackers
from service.worker.keeper import fork_off
from service.worker.limits import file_limit_bytes, forbid_core_files, limit_file_size, limit_memory
from service.worker.notes import Notes
from service.worker.plain import MAX_MESSAGE_CHARS, plain_text
from service.worker.precedence import give_precedence
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
from service.worker.segments import Segments
from service.worker.streams import Streams
from service.worker.traces import Traces

_ROUNDS, _ROUND_S, _TRACKER_TICK_S = 50, 0.02, 0.002


def main() -> None:
    """Serve until the server closes the socket."""
    descriptor, forks_descriptor, server_pid = map(int, sys.argv[1:4])
    fork_off(server_pid)
    _step_back()
    streams = Streams()
    os.set_inheritable(descriptor, False)  # noqa: FBT003
    os.set_inheritable(forks_descriptor, False)  # noqa: FBT003 - forks have it; other programs must not
    channel, forked = Channel(socket.socket(fileno=descriptor)), ForkedChannel(socket.socket(fileno=forks_descriptor))
    registry = _load(channel)
    spared = set_aside()
    traces = Traces()
    while isinstance(work := channel.receive(), Work):
        channel.send(pack(Begun(work.job_id, work.attempt)))
        frame = _frame_of(_run(work, registry, Notes(channel, forked), spared))
        streams.restore()
        if changes := traces.changes():
            channel.send(pack(Spent(list(map(plain_text, changes)))))
        channel.send(frame)


# ---- at the start


def _step_back() -> None:
    """Leave processor time to the API, and be the first to go when memory runs out."""
    give_precedence()
    forbid_core_files()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    faulthandler.enable()


def _load(channel: Channel) -> Registry:
    hello = channel.receive()
    if not isinstance(hello, Hello):
        raise SystemExit(1)
    sys.path[:] = hello.path
    os.environ.pop("PYTHONPATH", None)  # it was only there to find this module
    if hello.python_path is not None:
        os.environ["PYTHONPATH"] = hello.python_path
    if hello.file_limit_bytes is not None:
        limit_file_size(hello.file_limit_bytes)
    try:
        registry = load_registry(hello.processors_spec)
    except ProcessorLoadError as error:
        channel.send(pack(Broke("crashed", f"the child process cannot load {error}"[:MAX_MESSAGE_CHARS])))
        raise SystemExit(1) from None
    channel.send(pack(Ready(os.getpid())))
    return registry


# ---- one assignment


def _run(work: Work, registry: Registry, notes: Notes, spared: set[int]) -> Verdict:
    processor = registry.find(work.processor)
    if processor is None:
        return Broke("crashed", f"the child process has no processor {work.processor!r}")
    job = context_of(_assignment(work, processor), notes.emit)
    with contextlib.closing(notes), _inside(work.folder), _limited(work), _alone(job, spared):
        return _call(job, processor, work)


def _assignment(work: Work, processor: Processor) -> Assignment:
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


def _call(job: JobContext, processor: Processor, work: Work) -> Verdict:
    try:
        with ForksEndHere():
            return returned(call(processor, job, work.params), job, work.result_limit_bytes)
    except MemoryError:
        return Broke("out_of_memory", "the processor ran out of memory")
    except OSError as error:
        return _too_large_a_file() if error.errno == errno.EFBIG else verdict_of(error)
    except BaseException as error:  # noqa: BLE001 - also sys.exit() ends the attempt, not the child
        return verdict_of(error)


def _too_large_a_file() -> Refused:
    limit = f"{file_limit_bytes() / 1024**2:,.0f} MiB, its limit (FILEMILL_JOB_FILE_LIMIT_BYTES)"
    return Refused("file_too_large", f"the processor wanted to write a file of more than {limit}")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in the attempt's own folder, where temporary files are removed with it."""
    home, temporary = Path.cwd(), os.environ.get("TMPDIR")
    os.chdir(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR", None)
        if temporary is not None:
            os.environ["TMPDIR"] = temporary
        _forget_folder_of_multiprocessing()
        os.chdir(home)


def _forget_folder_of_multiprocessing() -> None:
    """Have it make a new one in the next attempt: it remembers the one that is removed with this attempt."""
    if (module := sys.modules.get("multiprocessing.process")) is not None:
        getattr(module.current_process(), "_config", {}).pop("tempdir", None)


@contextlib.contextmanager
def _limited(work: Work) -> Iterator[None]:
    limit_memory(work.memory_limit_bytes)
    try:
        yield
    finally:
        limit_memory(None)


# ---- what the processor leaves running


@contextlib.contextmanager
def _alone(job: JobContext, spared: set[int]) -> Iterator[None]:
    """End what the processor has left: processes, wherever they went, for they hang on this one, and shared memory."""
    pid, segments = os.getpid(), Segments()
    try:
        yield
    finally:
        left = _left_running(spared) if _has_children() else []
        segments.look([pid, *left])
        _end_left(left, job, spared)
        if names := segments.remove(pid):
            job.log("shared memory that was left was removed", names=names)


def _end_left(left: Sequence[int], job: JobContext, spared: set[int]) -> None:
    """End the processes; trackers, which the processor never saw, when they have removed what was left to them."""
    if others := without_trackers(left):
        job.log("processes that were left running were ended", count=len(others))
        _end_all(others, lambda: without_trackers(_left_running(spared)))
    if left:
        let_go()
        _await_end(_left_running(spared))
        if still := _left_running(spared):
            _end_all(still, lambda: _left_running(spared))
        _bury()


def _await_end(pids: Sequence[int]) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + TRACKER_LIMIT_S
    while not all(look_at(pid).has_ended for pid in pids) and clock.monotonic() < deadline:
        time.sleep(_TRACKER_TICK_S)


def _has_children() -> bool:
    """Whether there is any process below this one: an orphan comes to the next subreaper, which this process is."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    return False


def _left_running(spared: set[int]) -> list[int]:
    return [pid for pid in descendants(os.getpid()) if pid not in spared]


def _bury() -> None:
    """Collect those that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_all(pids: Sequence[int], left_running: Callable[[], Sequence[int]]) -> None:
    """Kill them, and those that they start meanwhile.

    Where they come faster than they go, this process ends, and leaves them to the keeper.
    """
    for _ in range(_ROUNDS):
        signal_all(pids, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):  # its parent has not ended yet, or nobody is to hear of it
                os.waitpid(pid, 0)
        if not (pids := left_running()):
            return
        time.sleep(_ROUND_S)
    os._exit(1)


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


if __name__ == "__main__":
    main()
