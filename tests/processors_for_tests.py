"""Processors that behave, and processors that do not; loaded by path, as a user's own file is."""

# ruff: noqa: ARG001, FBT001, FBT002, FBT003, S606, T201 - they show what users may write

import contextlib
import ctypes
import io
import json
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing.shared_memory import SharedMemory
from operator import methodcaller
from pathlib import Path
from typing import Any

from service import Fail, JobContext, Retry, Snooze, processor
from service.worker import traces


@processor("t.real_time", min_files=0)
def real_time(job: JobContext) -> list[str]:
    """Ask for real-time priority: here, in another program, and as an encoder does that asks nobody."""
    ask = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))"
    answers = []
    try:
        exec(ask, {})  # noqa: S102 - the same words as below
    except PermissionError:
        answers.append("refused here")
    else:
        answers.append("granted here")
    program = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    answers.append("refused there" if "PermissionError" in program.stderr else "granted there")
    import av  # noqa: PLC0415 - heavy

    with av.open(str(job.output("some.mkv")), "w") as container:
        stream = container.add_stream("libsvtav1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        threads = [int(thread.name) for thread in Path("/proc/self/task").iterdir()]
        answers.append(f"{len(threads) > 3 and {os.sched_getscheduler(thread) for thread in threads}}")
        container.mux(stream.encode(None))
    return answers


@processor("t.pid", min_files=0)
def pid(job: JobContext) -> dict[str, Any]:
    """Say which process this is."""
    group = Path("/proc/self/autogroup")
    return {
        "pid": os.getpid(),
        "nice": os.nice(0),
        "group": group.read_text().split()[-1] if group.exists() else "10",
        "cwd": str(Path.cwd()),
        "temp": tempfile.gettempdir(),
    }


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


@processor("t.allocate", min_files=0)
def allocate(job: JobContext, size: int = 1 << 50, step: int = 1 << 24, pause_s: float = 0) -> str:
    """Take memory, and write to all of it."""
    taken = []
    for _ in range(0, size, step):
        taken.append(b"x" * step)
        time.sleep(pause_s)
    return "taken"


@processor("t.reserve", min_files=0)
def reserve(job: JobContext, size: int) -> str:
    """Ask for much address space at once, and use none of it."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ):
        return "reserved"


@processor("t.hoard", min_files=0)
def hoard(job: JobContext, size: int) -> int:
    """Keep memory after the end."""
    _HOARD.append(b"x" * size)
    return os.getpid()


@processor("t.allocate_in_forks", min_files=0)
def allocate_in_forks(job: JobContext, count: int = 4, size: int = 1 << 26) -> None:
    """Take memory in processes of one's own, a little in each."""
    for _ in range(count):
        if os.fork() == 0:
            os.setsid()
            taken = b"x" * size
            signal.pause()
            os._exit(len(taken) % 2)
    signal.pause()


@processor("t.share_with_forks", min_files=0)
def share_with_forks(job: JobContext, count: int = 8, size: int = 1 << 26) -> str:
    """Show the same memory to many processes, for longer than it takes to look."""
    taken = b"x" * size
    pids = []
    for _ in range(count):
        if (pid := os.fork()) == 0:
            signal.pause()
        pids.append(pid)
    time.sleep(2.5)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return f"{len(taken)} shared"


@processor("t.daemon", min_files=0)
def daemon(job: JobContext, stay: bool = False) -> int:
    """Start a process that no longer belongs to anybody, as daemons do: fork, setsid, fork, with nothing inherited."""
    script = "import os, sys, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    script += "open('daemon.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"
    subprocess.run([sys.executable, "-c", script], env={}, check=True)
    while not (place := Path("daemon.pid")).exists() or not place.read_text():
        time.sleep(0.01)
    job.log("running", daemon=int(place.read_text()), pid=os.getpid())
    if stay:
        signal.pause()
    return int(place.read_text())


@processor("t.print_gigabyte", min_files=0)
def print_gigabyte(job: JobContext, size: int = 1 << 30, fail: bool = False) -> str:
    """Print a gigabyte, and a last line."""
    line = b"all work and no play makes a dull log\n" * 2000
    for _ in range(0, size, len(line)):
        os.write(1, line)
    print("the last line")
    if fail:
        raise RuntimeError("that was too much")
    return "printed"


@processor("t.log_flood", min_files=0)
def log_flood(job: JobContext, count: int = 100_000) -> str:
    """Log without pause."""
    for number in range(count):
        job.log(f"line {number}")
    return "logged"


@processor("t.stop", min_files=0)
def stop(job: JobContext, keeper: bool = False) -> None:
    """Stop oneself, or the process above."""
    os.kill(os.getppid() if keeper else os.getpid(), signal.SIGSTOP)
    signal.pause()


@processor("t.kill_keeper", min_files=0)
def kill_keeper(job: JobContext) -> None:
    """Kill the process above."""
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


@processor("t.become", min_files=0)
def become(job: JobContext, hold_socket: bool = False) -> None:
    """Become another program, one that speaks noise."""
    for number in _descriptors():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode) and hold_socket:
                os.set_inheritable(number, True)
                os.execv("/bin/sh", ["sh", "-c", f"while :; do echo noise; done >&{number}"])
    os.execv("/bin/sleep", ["sleep", "600"])


@processor("t.turn", min_files=0)
def turn(job: JobContext) -> int:
    """Return, and leave a thread behind, well hidden, that speaks noise when nobody has asked."""
    traces._state = dict

    def speak() -> None:
        time.sleep(0.3)  # also on a slow machine, its job is over by then
        garbage.function(job, "noise")

    threading.Thread(target=speak, daemon=True).start()
    return os.getpid()


@processor("t.manager", min_files=0)
def manager(job: JobContext) -> list[int]:
    """Use what keeps a folder of its own for temporary files."""
    with multiprocessing.get_context("fork").Manager() as one:
        return list(one.list([1, 2]))


@processor("t.limits", min_files=0)
def limits(job: JobContext) -> dict[str, Any]:
    """Say what may be used."""
    kinds = {"data": resource.RLIMIT_DATA, "cpu": resource.RLIMIT_CPU, "core": resource.RLIMIT_CORE}
    return {name: resource.getrlimit(kind)[0] for name, kind in kinds.items()} | {"group": os.getpgid(0)}


_HOARD: list[bytes] = []


@processor("t.fork", min_files=0)
def fork(job: JobContext) -> str:
    """Return twice."""
    pid = os.fork()
    job.progress(0.5, "twice")
    if pid:
        os.waitpid(pid, 0)
        return "parent"
    return "fork"


@processor("t.forked_notes", min_files=0)
def forked_notes(job: JobContext, how: str = "fork", count: int = 1) -> str:
    """Say something in processes that are forked, in the ways that Python has."""

    def speak(number: int) -> None:
        for line in range(count):
            job.log(f"line {line} of fork {number}", pid=os.getpid(), size=number)
        job.progress(0.5, f"fork {number}")

    context = multiprocessing.get_context("fork")
    if how == "fork":
        for number in range(3):
            _forked(lambda: speak(number))  # noqa: B023 - it is over before the next
    elif how == "process":
        workers = [context.Process(target=speak, args=(number,)) for number in range(3)]
        for act in ("start", "join"):
            list(map(methodcaller(act), workers))
    elif how == "pool":
        with context.Pool(3, _remember, (speak,)) as pool:
            pool.map(_speak, range(3), chunksize=1)
    else:
        with ProcessPoolExecutor(3, context, _remember, (speak,)) as executor:
            list(executor.map(_speak, range(3)))
    job.log("the parent goes on")
    return "spoken"


def _forked(act: Callable[[], object]) -> None:
    """Do it in a fork, and wait for its end."""
    if (pid := os.fork()) == 0:
        act()
        os._exit(0)
    os.waitpid(pid, 0)


_SPEAKERS: list[Callable[[int], None]] = []


def _remember(speak: Callable[[int], None]) -> None:
    _SPEAKERS[:] = [speak]


def _speak(number: int) -> None:
    _SPEAKERS[0](number)


@processor("t.forked_end", min_files=0)
def forked_end(job: JobContext, how: str) -> int:
    """Fork, and return how the fork ended."""
    if (pid := os.fork()) == 0:
        match how:
            case "exit":
                sys.exit(4)
            case "say":
                sys.exit("bye")
            case "raise":
                raise ValueError("of the fork")
            case _:
                return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@processor("t.forked_late", min_files=0)
def forked_late(job: JobContext) -> str:
    """Leave a fork behind that goes on to log."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        while True:
            job.log("still here")
            os.write(write_end, b".")
    os.read(read_end, 1)
    return "left"


@processor("t.forked_closed", min_files=0)
def forked_closed(job: JobContext) -> int:
    """Log from a fork that closes all it has inherited, as daemons do, and opens something else; return its code."""
    if (pid := os.fork()) == 0:
        os.closerange(3, 256)
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for number in range(max(near.fileno(), far.fileno()) + 1, 64):
            os.dup2(near.fileno(), number)
        job.log("unheard")
        job.log("unheard")
        far.setblocking(False)
        try:
            far.recv(100)
        except BlockingIOError:
            os._exit(7)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@processor("t.forked_closed_all", min_files=0)
def forked_closed_all(job: JobContext) -> int:
    """Log from a fork that closes all, and opens files; return how many bytes were written into them."""
    files = [job.place / f"{number}.txt" for number in range(32)]
    if (pid := os.fork()) == 0:
        os.closerange(0, 256)
        for path in files:
            os.open(path, os.O_WRONLY | os.O_CREAT)
        job.log("unheard")
        os._exit(0)
    os.waitpid(pid, 0)
    return sum(path.stat().st_size for path in files)


@processor("t.forked_noise", min_files=0)
def forked_noise(job: JobContext) -> str:
    """Have a fork write what is no note, and what it may not say, to every socket but the child's own; then a note."""
    sockets = [number for number in _descriptors() if _is_datagram_socket(number)]

    def speak() -> None:
        for number in sockets:
            for body in (b"noise", _frame({"Returned": {"result": 1, "outputs": []}}), b"\xff" * 5, b"12"):
                os.write(number, body)
        job.log("after the noise")

    _forked(speak)
    return f"{len(sockets)} sockets"


def _is_datagram_socket(number: int) -> bool:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as one:
        return one.type == socket.SOCK_DGRAM
    return False


@processor("t.sent_job", min_files=0)
def sent_job(job: JobContext, method: str = "spawn") -> None:
    """Give the job to a process that is started anew."""
    context: Any = multiprocessing.get_context(method)
    context.Process(target=print, args=(job,)).start()


@processor("t.forked_output", min_files=0)
def forked_output(job: JobContext) -> str:
    """Name outputs in forks, and one in the parent."""
    for _ in range(2):
        _forked(lambda: job.output("fork.txt").write_text("fork"))
    job.output("parent.txt").write_text("parent")
    return str(len(list(job.folder.glob("output-*"))))


_C = ctypes.CDLL(None, use_errno=True)


def _map_posix(name: str) -> None:
    """Do what a C library does: a segment that Python knows nothing of, mapped, its descriptor closed."""
    descriptor = _C.shm_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o600)
    os.ftruncate(descriptor, 4096)
    _KEPT.append(mmap.mmap(descriptor, 4096))
    os.close(descriptor)


_KEPT: list[Any] = []


def _share(kind: str, name: str) -> str:
    """Make shared memory of this kind, and return the names by which a test finds it."""
    if kind == "python":
        _KEPT.append(SharedMemory(create=True, size=4096))
        return str(_KEPT[-1].name)
    if kind == "semaphore":
        _KEPT.append(multiprocessing.get_context("spawn").Semaphore())
        return f"sem.{_KEPT[-1]._semlock.name[1:]}"
    if kind == "system_v":
        number = _C.shmget(0, 4096, 0o600)
        queue = _C.msgget(0, 0o600)
        _C.msgsnd(queue, ctypes.byref((ctypes.c_long * 2)(1, 0)), 8, 0)
        return f"shm {number} msg {queue}"
    _map_posix(name)
    return name


@processor("t.share", min_files=0)
def share(job: JobContext, kind: str = "python", label: str = "", how: str = "return") -> list[str]:
    """Leave shared memory behind, made here and in a fork, and end in one of many ways."""
    said_end, says_end = os.pipe()
    names = [_share(kind, f"{label}-own")]
    if how == "fork":
        if os.fork() == 0:
            os.write(says_end, _share(kind, f"{label}-fork").encode())
            signal.pause()
        names.append(os.read(said_end, 1000).decode())
    job.log("running", names=names)
    if how == "raise":
        raise ValueError("no good")
    if how == "signal":
        while not Path("go").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        signal.pause()
    return names


@processor("t.forkserver", min_files=0)
def forkserver(job: JobContext) -> int:
    """Use the fork server, which lives on."""
    context: Any = multiprocessing.get_context("forkserver")
    worker = context.Process(target=os.getpid)
    worker.start()
    worker.join()
    return int(worker.exitcode)


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
def close_stdout(job: JobContext, replace: bool = False) -> str:
    """Close standard output, or put something in its place that cannot be flushed."""
    if replace:
        sys.stdout = _Exiting()
    else:
        sys.stdout.close()
    os.close(1)
    return "closed"


class _Exiting(io.StringIO):
    def flush(self) -> None:
        sys.exit(3)


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
    for number in _descriptors():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, body)
    signal.pause()


@processor("t.close_socket", min_files=0)
def close_socket(job: JobContext) -> None:
    """Hang up, and go on."""
    for number in _descriptors():
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)
    signal.pause()


def _descriptors() -> list[int]:
    """Return those that are open, but for the standard ones: a busy test process hands on high numbers."""
    return [number for one in Path("/proc/self/fd").iterdir() if (number := int(one.name)) > 2]


def _frame(message: object) -> bytes:
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body
