"""One child process as the server sees it: its keeper, its socket, and what it prints."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Self

import structlog

from service.own_threads import in_own_thread
from service.processors.base import LogNote, Note, ProgressNote
from service.settings import without_secrets
from service.worker.allowance import Allowance
from service.worker.family import Look, descendants, look_at, oom_kills, own_bytes, signal_all, strays
from service.worker.forked import ForkedNotes
from service.worker.frames import Begun, FrameError, Hello, Message, Ready, Spent, pack, receive, work_of
from service.worker.guard import Census, Guard
from service.worker.helpers import TRACKER_LIMIT_S, to_be_killed
from service.worker.keeper import AT_ONCE, SOFTLY, TERM_GRACE_S
from service.worker.output import OutputPipe
from service.worker.runner import Assignment, Broke, Postponed, Refused, Returned, Verdict, timed_out
from service.worker.time_limit import TimeLimit

START_LIMIT_S = 60.0
BEGIN_LIMIT_S = 10.0
KILL_LIMIT_S, KILL_PAUSE_S = 10.0, 0.02
LAST_WORDS_S = 0.2
GROWTH_BYTES = 256 * 1024**2
NOTES_BURST, NOTES_PER_S, NOTE_PAUSE_S = 2000, 200, 0.01
STREAM_BUFFER_BYTES = 64 * 1024
_ROOT = str(Path(__file__).parents[2])
_MARK = "_FILEMILL_FAMILY"

log = structlog.get_logger()

# SVT_LOG is that of an encoder of AV1, which would fill the job's log: errors alone
_CALM = {"VIPS_BLOCK_UNTRUSTED": "1", "VIPS_CONCURRENCY": "1", "SVT_LOG": "1"}

Emit = Callable[[Note], None]


class ChildLostError(Exception):
    """A child did not get as far as beginning a job; `verdict` is what that means for the attempt."""

    def __init__(self, verdict: Broke) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


class ChildProcess:
    """A child with its keeper; `process` is the keeper, which ends as the child does. See `service.worker.keeper`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        outputs: tuple[OutputPipe, ...],
        forked: ForkedNotes,
        census: Census,
        mark: str,
    ) -> None:
        self.process = process
        self._reader, self._writer = streams
        self._outputs = outputs
        self._forked = forked
        self._census = census
        self._mark = mark
        self._guard: Guard | None = None
        self._end = asyncio.create_task(self._watch_over())
        self._fault: Broke | None = None
        self._first_bytes = 0
        self.pid = process.pid
        self.is_healthy = False
        self.changes: list[str] = []
        self.jobs = 0
        self.ending: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(cls, census: Census) -> Self:
        """Start the process, as the leader of a session and a process group of its own."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(theirs.close)
            streams = await asyncio.open_unix_connection(sock=ours, limit=STREAM_BUFFER_BYTES)
            keep = undo.enter_context(contextlib.ExitStack())
            keep.callback(streams[1].close)
            outputs = _kept(keep, "stdout"), _kept(keep, "stderr")
            forked = keep.enter_context(contextlib.closing(ForkedNotes()))
            mark = secrets.token_hex(8)
            with outputs[0].write_end() as stdout, outputs[1].write_end() as stderr, forked.write_end() as forks:
                process = await _start_process((theirs, forks), stdout, stderr, mark)
            _ = keep.pop_all()
        return cls(process, streams, outputs, forked, census, f"{_MARK}={mark}")

    async def load(self, processors_spec: str, file_limit_bytes: int | None) -> None:
        """Have the child load its processors.

        Raises:
            ChildLostError: it cannot, or dies of it.
        """
        hello = Hello(_import_path(), os.environ.get("PYTHONPATH"), processors_spec, file_limit_bytes)
        answer = await self._answer_within(START_LIMIT_S, hello, "was not ready")
        if not isinstance(answer, Ready):
            raise ChildLostError(_lost(answer))
        self.pid = answer.pid
        self._first_bytes = own_bytes(self.pid)
        self.is_healthy = True

    async def run(self, assignment: Assignment, emit: Emit) -> Verdict:
        """Run one attempt; afterwards `is_healthy` says whether the child can take another.

        Raises:
            ChildLostError: it did not even begin.
        """
        self.is_healthy = False
        self.jobs += 1
        killed_before = oom_kills()
        async with self._guarded(assignment):
            with self._passing_output_to(emit):
                await self._hand_over(assignment)
                limit = TimeLimit(assignment.timeout_s)
                try:
                    async with limit:
                        answer = await self._listen(emit)
                except TimeoutError:
                    if not limit.expired():  # then it is the caller's own
                        raise
                    return timed_out(assignment.timeout_s)
        verdict = _checked(answer, assignment.folder.absolute())
        self.is_healthy = not (isinstance(verdict, Broke) and verdict.code in {"crashed", "out_of_memory", "timed_out"})
        return _explained(verdict, killed_before)

    async def stop(self) -> None:
        """End the process with all its descendants: SIGTERM, a second of grace, SIGKILL. The keeper sees to it."""
        self.is_healthy = False
        self._tell_keeper(SOFTLY)
        limit_s = 2 * TERM_GRACE_S + (0 if look_at(self.process.pid).is_stopped else TRACKER_LIMIT_S)
        if not await self._ended_within(limit_s):
            await self._end_by_force()
        if self._guard is not None and (names := await in_own_thread(self._guard.segments.remove)):
            log.info("shared memory of an attempt that ended was removed", pid=self.pid, names=names)
        self._end.cancel()
        for output in self._outputs:
            output.close()
        self._forked.close()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs, as far as is known."""
        return self.process.returncode is None

    @property
    def is_ready(self) -> bool:
        """Whether the process runs, and nothing holds it."""
        return self.is_alive and not look_at(self.pid).is_stopped and not look_at(self.process.pid).is_stopped

    @property
    def has_grown(self) -> bool:
        """Whether it holds much more memory than it did at first: what processors leak, or keep."""
        return own_bytes(self.pid) > self._first_bytes + GROWTH_BYTES

    # ---- the conversation

    async def _hand_over(self, assignment: Assignment) -> None:
        """Give the child its work, and hear that it has begun; whatever else it says shows that it is not sound."""
        work = work_of(assignment)
        answer = await self._answer_within(BEGIN_LIMIT_S, work, "did not take its work")
        if answer != Begun(work.job_id, work.attempt):
            raise ChildLostError(_lost(answer))

    async def _answer_within(self, limit_s: float, message: Message, failure: str) -> Message:
        limit = TimeLimit(limit_s)
        try:
            async with limit:
                return await self._ask(message)
        except TimeoutError:
            if not limit.expired():
                raise
            return Broke("crashed", f"the child process {failure} within {limit_s:g} s")

    async def _ask(self, message: Message) -> Message:
        with contextlib.suppress(ConnectionError):  # what it said before it went is still to be read
            self._writer.write(pack(message))
            await self._writer.drain()
        return await self._receive()

    async def _listen(self, emit: Emit) -> Message:
        """Return the verdict; pass on the notes that come before."""
        allowance = Allowance(NOTES_BURST, NOTES_PER_S, asyncio.get_running_loop().time)
        while isinstance(answer := await self._receive(), ProgressNote | LogNote | Spent):
            if isinstance(answer, Spent):
                self.changes = answer.changes
                continue
            emit(answer)
            # a flood must not keep the loop from others; the child thins its notes out, but any code may run in it
            await asyncio.sleep(0 if allowance.take() else NOTE_PAUSE_S)
        return answer

    async def _receive(self) -> Message:
        try:
            return await receive(self._reader)
        except FrameError as error:
            return Broke("crashed", f"the child process sent {error}")
        except (asyncio.IncompleteReadError, ConnectionError):
            if self._fault is not None:
                return self._fault
            if not await self._ended_within(TERM_GRACE_S) and look_at(self.pid).has_ended:
                await self._ended_within(TRACKER_LIMIT_S)  # the keeper is still about what the child has left
            return _crashed(self.process.returncode)

    @contextlib.contextmanager
    def _passing_output_to(self, emit: Emit) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._forked.passed_to(emit))
            for output in self._outputs:
                stack.enter_context(output.passed_to(emit))
            yield

    # ---- the watch

    @contextlib.asynccontextmanager
    async def _guarded(self, assignment: Assignment) -> AsyncIterator[None]:
        """Have a guard end the child when it must not go on."""
        limits = assignment.memory_limit_bytes, assignment.cpu_limit_s
        guard = self._guard = Guard(self._census, self.process.pid, self.pid, *limits)
        task = asyncio.create_task(self._end_for_fault(guard))
        try:
            yield
        finally:
            task.cancel()

    async def _end_for_fault(self, guard: Guard) -> None:
        try:
            self._fault = await guard.watch()
        except Exception:
            log.exception("child process cannot be watched", pid=self.pid)
            self._fault = Broke("crashed", "the server could not watch the child process, and ended it")
        self._tell_keeper(AT_ONCE)
        self._writer.transport.abort()

    async def _watch_over(self) -> None:
        """Wait for the end of the keeper; kill what may be left of its group, or, when it was killed, of its family."""
        await self.process.wait()
        if self.process.returncode != -signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        # A descendant in a session of its own may hold the socket open: what has not come by then never will.
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._writer.transport.abort)
        if self.process.returncode == -signal.SIGKILL:
            await self._end_strays()

    async def _end_strays(self) -> None:
        """Kill what a keeper may have left that was killed itself."""
        seen: dict[int, Look] = {} if self._guard is None else self._guard.family
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_LIMIT_S):
                begun = asyncio.get_running_loop().time()
                while left := await in_own_thread(strays, self.process.pid, self._mark, seen):
                    left = to_be_killed(left, asyncio.get_running_loop().time() - begun)
                    log.warning("processes without a keeper were ended", pid=self.pid, count=len(left))
                    signal_all(left, signal.SIGKILL)
                    await asyncio.sleep(KILL_PAUSE_S)

    async def _ended_within(self, seconds: float) -> bool:
        await asyncio.wait([self._end], timeout=seconds)
        return self._end.done()

    async def _end_by_force(self) -> None:
        """Kill a keeper that does not do its duty, for it was stopped itself, and whoever is below it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILL_LIMIT_S):
                begun = asyncio.get_running_loop().time()
                while family := await in_own_thread(descendants, self.process.pid):
                    signal_all(to_be_killed(family, asyncio.get_running_loop().time() - begun), signal.SIGKILL)
                    await asyncio.sleep(KILL_PAUSE_S)
        if self.is_alive:
            signal_all([self.process.pid], signal.SIGKILL)
        await self._ended_within(KILL_LIMIT_S)

    def _tell_keeper(self, number: signal.Signals) -> None:
        if self.is_alive:
            signal_all([self.process.pid], number)


def _kept(stack: contextlib.ExitStack, stream: str) -> OutputPipe:
    output = OutputPipe(stream)
    stack.callback(output.close)
    return output


async def _start_process(
    theirs: tuple[socket.socket, ...], stdout: int, stderr: int, mark: str
) -> asyncio.subprocess.Process:
    """Start a child that finds this very package, and no other module by the accident of a working folder.

    Its environment is the server's, without what is secret there.
    """
    descriptors = [one.fileno() for one in theirs]
    python_path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "service.worker.child", *map(str, descriptors), str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=descriptors,
        start_new_session=True,
        env=without_secrets(os.environ) | _CALM | {"PYTHONPATH": python_path, _MARK: mark},
    )


def _import_path() -> list[str]:
    return [str(Path(place).absolute()) for place in sys.path]


# ---- verdicts


def _checked(answer: Message, folder: Path) -> Verdict:
    """Return the answer, if it is a verdict with no output from outside the attempt's folder."""
    match answer:
        case Returned() if all(output.path.parent == folder for output in answer.outputs):
            return answer
        case Refused() | Postponed() | Broke():
            return answer
        case _:
            return Broke("crashed", "the child process answered what is not a verdict")


def _lost(answer: Message) -> Broke:
    return answer if isinstance(answer, Broke) else Broke("crashed", "the child process spoke out of turn")


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


def _explained(verdict: Verdict, oom_kills_before: int) -> Verdict:
    """Return the verdict, or a better one where the signal that ended the child tells why."""
    match verdict:
        case Broke("crashed", facts={"signal": "SIGKILL"}) if oom_kills() > oom_kills_before:
            return Broke("out_of_memory", "the machine had no memory left, and the system ended the attempt")
        case _:
            return verdict
