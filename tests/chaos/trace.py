"""What a real server asked of the kernel, in order: by strace, on the running process."""

import contextlib
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.server import Server

CALLS = "write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"
STRACE = ("strace", "-D", "-f", "--seccomp-bpf", "-yy", "-s", "5000")
_WHOLE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<text>.*)\) += (?P<result>-?\d+|\?)", re.DOTALL)
_BEGUN = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<text>.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>(?P<text>.*)\) += (?P<result>-?\d+|\?)")


@dataclass(slots=True)
class Call:
    """A system call: its arguments as strace prints them, and the lines on which it began and ended."""

    name: str
    text: str
    begin: int
    end: int
    result: str

    @property
    def place(self) -> str:
        """The file of the descriptor that is its first argument."""
        found = re.match(r"\d+<([^>]*)>", self.text)
        return found[1] if found else ""


def why_not() -> str | None:
    """Return why nothing can be traced here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with tempfile.NamedTemporaryFile() as out:
        tried = subprocess.run(
            [*STRACE, "-o", out.name, "-e", "trace=fsync", "true"], capture_output=True, text=True, check=False
        )
    return f"strace cannot trace here: {tried.stderr.strip()[:200]}" if tried.returncode or tried.stderr else None


@contextlib.contextmanager
def run_traced(
    data_dir: Path, out: Path, *options: str, calls: str = CALLS, **settings: str | float | Path
) -> Iterator[Server]:
    """Run a server whose calls go into the file `out`."""
    server = Server(data_dir, **settings)  # type: ignore[arg-type]  # settings, and no arguments
    server.launcher = (*STRACE, "-o", out, *options, "-e", f"trace={calls}", sys.executable, "-m", "service")
    try:
        yield server.start()
    finally:
        server.destroy()


@contextlib.contextmanager
def injected(pid: int, *rules: str) -> Iterator[None]:
    """Let the system calls of a running process meet a fault: `fsync:error=EIO`, `pwrite64:signal=SIGKILL:when=3`."""
    options = [option for rule in rules for option in ("-e", f"inject={rule}")]
    calls = ",".join(rule.partition(":")[0] for rule in rules)
    # not with --seccomp-bpf: a signal that is injected there gets lost
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        assert "attached" in said, said
        try:
            yield
        finally:
            strace.kill()  # the kernel lets its processes go on


def read_trace(out: Path) -> list[Call]:
    """Return the calls that ended, by the line on which they began."""
    calls: list[Call] = []
    open_calls: dict[tuple[str, str], Call] = {}
    for number, line in enumerate(out.read_text(errors="replace").splitlines()):
        if found := _WHOLE.match(line):
            calls.append(Call(found["name"], found["text"], number, number, found["result"]))
        elif found := _BEGUN.match(line):
            open_calls[found["pid"], found["name"]] = Call(found["name"], found["text"], number, number, "?")
        elif (found := _ENDED.match(line)) and (call := open_calls.pop((found["pid"], found["name"]), None)):
            call.text, call.end, call.result = call.text + found["text"], number, found["result"]
            calls.append(call)
    return sorted(calls, key=lambda call: call.begin)


def in_order(calls: Sequence[Call]) -> bool:
    """Whether each call began after the one before had ended, and none was refused."""
    return all(a.end < b.begin for a, b in itertools.pairwise(calls)) and all(int(call.result) >= 0 for call in calls)
