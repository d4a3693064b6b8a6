"""Processors that behave, and processors that do not; loaded by path, as a user's own file is."""

# ruff: noqa: ARG001, FBT001, FBT002, S603, T201 - they show what users may write

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

from service import Fail, JobContext, Retry, Snooze, processor


@processor("t.pid", min_files=0)
def pid(job: JobContext) -> dict[str, Any]:
    """Say which process this is."""
    return {"pid": os.getpid(), "nice": os.nice(0), "cwd": str(Path.cwd()), "temp": tempfile.gettempdir()}


@processor("t.environment", min_files=0)
def environment(job: JobContext) -> dict[str, Any]:
    """Say what the process was given."""
    return {
        "vips": os.environ.get("VIPS_BLOCK_UNTRUSTED"),
        "threads": os.environ.get("VIPS_CONCURRENCY"),
        "python_path": os.environ.get("PYTHONPATH"),
        "stdin": sys.stdin.read(),
        "web": sorted({"fastapi", "sqlalchemy", "pyvips"} & sys.modules.keys()),
    }


@processor("t.echo", min_files=0)
def echo(job: JobContext, value: object = None, day: date = date(2000, 1, 1)) -> dict[str, Any]:
    """Return what came in."""
    files = [{"name": file.name, "text": file.path.read_text()} for file in job.files]
    kind = type(day).__name__
    return {"value": value, "day": kind, "files": files, "metadata": job.metadata, "attempt": job.attempt}


@processor("t.write", min_files=0)
def write(job: JobContext, text: str = "") -> None:
    """Write an output."""
    job.output("a.txt").write_text(text)


@processor("t.stray", min_files=0)
def stray(job: JobContext) -> None:
    """Name a file outside of the folder as an output."""
    path = job.output("a.txt")
    job.outputs[0] = type(job.outputs[0])("a.txt", Path("/etc/hostname"))
    path.write_text("")


@processor("t.missing", min_files=0)
def missing(job: JobContext) -> None:
    """Name an output and never write it."""
    job.output("a.txt")


@processor("t.signal", min_files=0)
def signal_self(job: JobContext, number: int) -> None:
    """Send a signal to oneself."""
    job.log("about to die")
    os.kill(os.getpid(), number)
    signal.pause()


@processor("t.segfault", min_files=0)
def segfault(job: JobContext) -> None:
    """Read from address 0."""
    ctypes.string_at(0)


@processor("t.exit", min_files=0)
def leave(job: JobContext, code: int, politely: bool = False) -> None:
    """Leave."""
    if politely:
        sys.exit(code)
    os._exit(code)


@processor("t.loop", min_files=0)
def loop(job: JobContext, stubborn: bool = False) -> None:
    """Never end."""
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job.log("running", pid=os.getpid())
    while True:
        pass


@processor("t.grandchild", min_files=0)
def grandchild(job: JobContext, wait: bool = True, stubborn: bool = False) -> dict[str, Any]:
    """Start a process that sleeps."""
    trap = "trap '' TERM; " if stubborn else ""
    process = subprocess.Popen(["/bin/sh", "-c", f"{trap}echo started; while :; do sleep 1000; done"])
    job.log("running", pid=os.getpid(), grandchild=process.pid)
    if wait:
        process.wait()
    return {"grandchild": process.pid, "pid": os.getpid()}


@processor("t.orphan_holding_socket", min_files=0)
def orphan_holding_socket(job: JobContext) -> None:
    """Die, and leave a process in a session of its own that holds all descriptors."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.alarm(30)
        signal.pause()
    job.log("running", orphan=pid)
    os._exit(4)


@processor("t.fork", min_files=0)
def fork(job: JobContext) -> str:
    """Return twice."""
    pid = os.fork()
    job.progress(0.5, "twice")
    if pid:
        os.waitpid(pid, 0)
        return "parent"
    return "fork"


@processor("t.pool", min_files=0)
def pool(job: JobContext) -> list[int]:
    """Use processes of one's own."""
    with multiprocessing.get_context("fork").Pool(2) as workers:
        return workers.map(abs, [-1, -2, -3])


@processor("t.print", min_files=0)
def prints(job: JobContext, lines: int = 1, raw: bool = False) -> str:
    """Print a lot."""
    for number in range(lines):
        print(f"line {number} of what is printed")
    if raw:
        os.write(1, b"\x00\x00\x00\x02{}" * 100)
        os.write(2, b"\xff\xfe half a line")
    return "printed"


@processor("t.print_forever", min_files=0)
def print_forever(job: JobContext) -> None:
    """Print without end."""
    while True:
        os.write(1, b"x" * 65536)


@processor("t.close_stdout", min_files=0)
def close_stdout(job: JobContext) -> str:
    """Close standard output."""
    sys.stdout.close()
    os.close(1)
    return "closed"


@processor("t.notes", min_files=0)
def notes(job: JobContext, count: int = 1) -> str:
    """Send progress and log lines."""
    for number in range(count):
        job.progress((number + 1) / count, f"step {number + 1}")
    job.log("a line", when=date(2024, 5, 1), thing=threading.Lock, size=3)
    job.log("x" * 5_000_000, blob="y" * 5_000_000)
    return "done"


@processor("t.late_notes", min_files=0)
def late_notes(job: JobContext) -> str:
    """Leave a thread behind that goes on to log."""

    def talk() -> None:
        with contextlib.suppress(Exception):
            while True:
                job.log("still here")
                job.progress(0.1)
                time.sleep(0.0005)

    threading.Thread(target=talk, daemon=True).start()
    return "left"


@processor("t.not_json", min_files=0)
def not_json(job: JobContext, kind: str) -> object:
    """Return what is not JSON."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return {
        "object": object(),
        "nan": float("nan"),
        "surrogate": "\ud800",
        "deep": deep,
        "large": "x" * 5_000_000,
    }[kind]


@processor("t.raise", min_files=0)
def raises(job: JobContext, kind: str) -> None:
    """Raise."""
    raise {
        "fail": Fail("no good", code="bad_thing"),
        "retry": Retry("later", delay_s=3),
        "snooze": Snooze(4),
        "value": ValueError("wrong value"),
        "memory": MemoryError(),
        "large": Fail("x" * 5_000_000),
        "keyboard": KeyboardInterrupt(),
    }[kind]


@processor("t.garbage", min_files=0)
def garbage(job: JobContext, kind: str) -> None:
    """Write to the private socket."""
    body = {
        "noise": b"\x00\x00\x00\x05hello",
        "huge": b"\xff\xff\xff\xff",
        "kind": _frame({"Returned2": {}}),
        "fields": _frame({"Returned": {"result": 1, "outputs": [3]}}),
        "nan": _frame({"Postponed": {"delay_s": float("nan")}}),
        "hello": _frame({"Ready": {}}),
    }[kind]
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, body)
    signal.pause()


@processor("t.close_socket", min_files=0)
def close_socket(job: JobContext) -> None:
    """Hang up, and go on."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)
    signal.pause()


def _frame(message: object) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body
