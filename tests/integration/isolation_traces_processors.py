"""Processors that leave their process other than they found it, or hide what they started."""

# ruff: noqa: ARG001, FBT001, FBT002, S606 - they show what users may write

import locale
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from service import JobContext, processor


@processor("tr.nothing", min_files=0)
def nothing(job: JobContext) -> int:
    """Say which process this is."""
    return os.getpid()


@processor("tr.change", min_files=0)
def change(job: JobContext, what: str) -> int:
    """Change the process."""
    _CHANGES[what]()
    return os.getpid()


@processor("tr.environment", min_files=0)
def environment(job: JobContext) -> list[str]:
    """Return all values of the environment, the keeper's too."""
    above = Path(f"/proc/{os.getppid()}/environ").read_text()
    return [*os.environ.values(), above]


@processor("tr.hidden_orphan", min_files=0)
def hidden_orphan(job: JobContext) -> list[int]:
    """Leave a process behind whose end, and whose parent's, nobody hears of."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write_end, str(os.getpid()).encode())
            os.closerange(0, 256)
            os.execv("/bin/sleep", ["sleep", "600"])
        os._exit(0)
    orphan = int(os.read(read_end, 100))
    while _parent(orphan) not in {os.getpid(), os.getppid()}:
        time.sleep(0.01)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return [orphan, os.getpid()]


@processor("tr.kill_keeper", min_files=0)
def kill_keeper(job: JobContext, forget: bool = False) -> None:
    """Start a process in a session of its own, and kill the process above."""
    environ: dict[str, str] | None = {} if forget else None
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True, env=environ)
    job.log("running", left=process.pid)
    time.sleep(1.6 if forget else 0)  # until the server has seen it
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


@processor("tr.hold_in_memory", min_files=0)
def hold_in_memory(job: JobContext, size: int) -> None:
    """Write to a file in memory that is mapped nowhere."""
    descriptor = os.memfd_create("held")
    for _ in range(0, size, 1 << 20):
        os.write(descriptor, b"x" * (1 << 20))
    time.sleep(20)


@processor("tr.write_file", min_files=0)
def write_file(job: JobContext, size: int, in_memory: bool = False) -> str:
    """Write a large file."""
    path = f"/proc/self/fd/{os.memfd_create('large')}" if in_memory else str(job.output("large.bin"))
    with open(path, "wb", buffering=0) as file:  # noqa: PTH123 - a link to an open file
        file.writelines(b"x" * (1 << 20) for _ in range(0, size, 1 << 20))
    return "written"


@processor("tr.burn_in_child", min_files=0)
def burn_in_child(job: JobContext) -> None:
    """Have another process use the processor."""
    subprocess.run(["/bin/sh", "-c", "while :; do :; done"], check=False)


@processor("tr.log_nan", min_files=0)
def log_nan(job: JobContext) -> str:
    """Tell what is no number."""
    job.progress(float("nan"), "so far")
    job.log("loss", loss=float("nan"), size=3)
    return "told"


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _leave_thread() -> None:
    threading.Thread(target=time.sleep, args=(600,), daemon=True, name="left").start()


def _lower_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))


_CHANGES: dict[str, Any] = {
    "timers": lambda: signal.alarm(600),
    "limits": _lower_limit,
    "signal handlers: SIGCHLD": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "blocked signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}),
    "environment: DIRT": lambda: os.environ.update(DIRT="secret"),
    "umask": lambda: os.umask(0o777),
    "priority": lambda: os.nice(1),
    "threads: left": _leave_thread,
    "interpreter: recursion limit": lambda: sys.setrecursionlimit(300),
    "interpreter: recursion": lambda: sys.setrecursionlimit(50_000),  # a higher one
    "interpreter: trace function": lambda: sys.settrace(lambda *_: None),
    "interpreter: timeout of sockets": lambda: socket.setdefaulttimeout(1),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C"),
}
