"""Child processes that run `def` processors: reused while healthy, else killed with all they started."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from service.errors import ProcessorLoadError
from service.processors.base import LogNote, Note, ProgressNote
from service.worker.frames import FrameError, Hello, Message, Ready, pack, receive, work_of
from service.worker.output import OutputPipe
from service.worker.runner import Assignment, Broke, Postponed, Refused, Returned, Verdict, timed_out

START_LIMIT_S = 60.0
TERM_GRACE_S = 1.0
KILL_LIMIT_S = 10.0
LAST_WORDS_S = 0.2
STREAM_BUFFER_BYTES = 64 * 1024
_ROOT = str(Path(__file__).parents[2])

Emit = Callable[[Note], None]


class ChildRunner:
    """Runs `def` processors in up to `limit` child processes, each replaced after `jobs_per_child` jobs."""

    def __init__(self, limit: int, processors_spec: str = "", *, jobs_per_child: int = 1000) -> None:
        self._limit = limit
        self._spec = processors_spec
        self._jobs_per_child = jobs_per_child
        self._slots = asyncio.Semaphore(limit)
        self._children: set[_Child] = set()
        self._idle: list[_Child] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def warm(self, count: int = 1) -> None:
        """Start children until there are `count`, so that the first jobs need not wait for them.

        Raises:
            ProcessorLoadError: a child cannot start.
        """
        for _ in range(min(count, self._limit)):
            async with self._slots:
                if len(self._children) >= count:
                    return
                try:
                    self._idle.append(await self._start())
                except _ChildLostError as error:
                    raise ProcessorLoadError(error.verdict.message) from None

    async def run(self, assignment: Assignment, emit: Emit) -> Verdict:
        """Run one attempt in a child; wait for one that is free. See `Runner`.

        Raises:
            RuntimeError: the runner is closed.
        """
        async with self._slots:
            try:
                child = await self._take()
            except _ChildLostError as error:
                return error.verdict
            try:
                verdict = await child.run(assignment, emit)
            except BaseException:
                await self._end(child)
                raise
            await self._put_back(child)
            return verdict

    async def aclose(self) -> None:
        """End all children and wait for them. A run that is not over comes to "crashed"."""
        self._closed = True
        while self._children or self._ending:
            for child in list(self._children):
                _ = self._retire(child)
            await asyncio.wait(self._ending)
        self._idle.clear()

    async def _take(self) -> "_Child":
        while self._idle and not self._closed:
            child = self._idle.pop()
            if child.is_alive:
                return child
            await self._end(child)
        return await self._start()

    async def _start(self) -> "_Child":
        if self._closed:
            raise RuntimeError("the runner is closed")
        child = await _Child.spawn()
        self._children.add(child)
        try:
            await child.load(self._spec)
        except BaseException:
            await self._end(child)
            raise
        return child

    async def _put_back(self, child: "_Child") -> None:
        if self._closed or not child.is_healthy:
            await self._end(child)
        elif child.jobs >= self._jobs_per_child:
            _ = self._retire(child)  # nobody need wait for it
        else:
            self._idle.append(child)

    async def _end(self, child: "_Child") -> None:
        """End the child; when the caller is cancelled, the end goes on."""
        await asyncio.shield(self._retire(child))

    def _retire(self, child: "_Child") -> asyncio.Task[None]:
        if child.ending is None:
            child.ending = asyncio.create_task(child.stop())
            self._ending.add(child.ending)
            child.ending.add_done_callback(self._ending.discard)
            self._children.discard(child)
        return child.ending


class _ChildLostError(Exception):
    """A child did not get as far as its first job; `verdict` is what that means for the attempt."""

    def __init__(self, verdict: Broke) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class _Child:
    """One child process, its socket, and what it prints."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        output: OutputPipe,
    ) -> None:
        self._process = process
        self._reader, self._writer = streams
        self._output = output
        self._watch = asyncio.create_task(self._watch_over())
        self.is_healthy = False
        self.jobs = 0
        self.ending: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(cls) -> Self:
        """Start the process, as the leader of a process group of its own."""
        ours, theirs = socket.socketpair()
        with theirs:
            streams = await asyncio.open_unix_connection(sock=ours, limit=STREAM_BUFFER_BYTES)
            output = OutputPipe()
            try:
                process = await _start_process(theirs, output)
            except BaseException:
                output.close()
                streams[1].close()
                raise
        return cls(process, streams, output)

    async def load(self, processors_spec: str) -> None:
        """Have the child load its processors.

        Raises:
            _ChildLostError: it cannot, or dies of it.
        """
        hello = Hello(_import_path(), os.environ.get("PYTHONPATH"), processors_spec)
        limit = asyncio.timeout(START_LIMIT_S)
        try:
            async with limit:
                answer = await self._ask(hello, lambda _: None)
        except TimeoutError:
            answer = Broke("crashed", f"the child process was not ready after {START_LIMIT_S:g} s")
        if not isinstance(answer, Ready):
            lost = answer if isinstance(answer, Broke) else Broke("crashed", "the child process did not say hello")
            raise _ChildLostError(lost)
        self.is_healthy = True

    async def run(self, assignment: Assignment, emit: Emit) -> Verdict:
        """Run one attempt; afterwards `is_healthy` says whether the child can take another."""
        self.is_healthy = False
        self.jobs += 1
        limit = asyncio.timeout(assignment.timeout_s)
        with self._output.passed_to(emit):
            try:
                async with limit:
                    answer = await self._ask(work_of(assignment), emit)
            except TimeoutError:
                if not limit.expired():  # then it is the caller's own
                    raise
                return timed_out(assignment.timeout_s)
        verdict = _checked(answer, assignment.folder.absolute())
        self.is_healthy = not (isinstance(verdict, Broke) and verdict.code in {"crashed", "out_of_memory"})
        return verdict

    async def stop(self) -> None:
        """End the process and its group: SIGTERM, a second of grace, SIGKILL."""
        self.is_healthy = False
        self._signal(signal.SIGTERM)
        if not await self._ended_within(TERM_GRACE_S):
            self._signal(signal.SIGKILL)
            await self._ended_within(KILL_LIMIT_S)
        self._watch.cancel()
        self._output.close()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs, as far as is known."""
        return self._process.returncode is None

    async def _ask(self, message: Message, emit: Emit) -> Message:
        """Send a message and return the answer to it; pass on the notes that come before."""
        try:
            self._writer.write(pack(message))
            await self._writer.drain()
            while isinstance(answer := await receive(self._reader), ProgressNote | LogNote):
                emit(answer)
                await asyncio.sleep(0)  # a flood of notes must not keep the loop from others
        except FrameError as error:
            return Broke("crashed", f"the child process sent {error}")
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._ended_within(TERM_GRACE_S)
            return _crashed(self._process.returncode)
        return answer

    async def _watch_over(self) -> None:
        """Wait for the end of the process; kill the rest of its group before the number is used again."""
        await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # A descendant in a session of its own may hold the socket open: what has not come by then never will.
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._writer.transport.abort)

    async def _ended_within(self, seconds: float) -> bool:
        await asyncio.wait([self._watch], timeout=seconds)
        return self._watch.done()

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


async def _start_process(theirs: socket.socket, output: OutputPipe) -> asyncio.subprocess.Process:
    """Start a child that finds this very package, and no other module by the accident of a working folder."""
    python_path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    with output.write_end() as write_end:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "service.worker.child", str(theirs.fileno()), str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": python_path, "VIPS_BLOCK_UNTRUSTED": "1", "VIPS_CONCURRENCY": "1"},
        )


def _import_path() -> list[str]:
    return [str(Path(place).absolute()) for place in sys.path]


def _checked(answer: Message, folder: Path) -> Verdict:
    """Return the answer, if it is a verdict with no output from outside the attempt's folder."""
    match answer:
        case Returned() if all(output.path.parent == folder for output in answer.outputs):
            return answer
        case Refused() | Postponed() | Broke():
            return answer
        case _:
            return Broke("crashed", "the child process answered what is not a verdict")


def _crashed(returncode: int | None) -> Broke:
    """Return the verdict on a child that went away."""
    match returncode:
        case None:
            return Broke("crashed", "the child process closed its connection")
        case code if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return Broke("crashed", f"the child process was ended by {name}", facts={"signal": name})
        case code:
            sentence = f"the child process exited with code {code} before the processor was done"
            return Broke("crashed", sentence, facts={"exit_code": code})
