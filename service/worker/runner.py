"""Running one attempt: what goes in, and what it came to.

A runner never raises for what the processor did: every end is a value, a `Verdict`. Only cancellation passes
through, after the processor has been stopped.
"""

import asyncio
import contextlib
import json
import os
import stat
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from service.forks import EndsForks
from service.naming import kind_of
from service.processors.base import Fail, InputFile, JobContext, Note, OutputFile, Processor, Retry, Snooze
from service.processors.calling import Overrides, acall
from service.sizes import MOST_RESULT_BYTES
from service.steady_loop import runs_user_code
from service.worker.plain import TOO_DEEP, plain_text, read_back
from service.worker.time_limit import TimeLimit

MAX_TRACE_CHARS, MAX_CODE_CHARS = 8000, 100
MAX_CHAIN, MAX_EXCEPTIONS = 20, 200


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt of a job, ready to run. `folder` exists, is empty, and belongs to this attempt.

    The limits of memory and of processor time hold for a child process; None is no limit.
    """

    job_id: str
    attempt: int
    max_attempts: int
    processor: Processor
    params: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[InputFile, ...]
    folder: Path
    timeout_s: float
    memory_limit_bytes: int | None = None
    cpu_limit_s: float | None = None
    result_limit_bytes: int = MOST_RESULT_BYTES


@dataclass(frozen=True, slots=True)
class Returned:
    """The processor returned `result` and wrote `outputs`."""

    result: Any
    outputs: tuple[OutputFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The processor raised `Fail`: another attempt would not help."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The processor raised `Snooze`."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Broke:
    """The attempt failed, and another may succeed. `delay_s` None leaves the delay to backoff."""

    code: str
    message: str
    delay_s: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


Verdict = Returned | Refused | Postponed | Broke


class Runner(Protocol):
    """Runs attempts, on the event loop or in child processes."""

    async def run(self, assignment: Assignment, emit: Callable[[Note], None]) -> Verdict:
        """Run one attempt to its end, at most `assignment.timeout_s` seconds, passing its notes to `emit`."""
        ...

    async def aclose(self) -> None:
        """Stop whatever is left."""
        ...


class OnLoop(NamedTuple):
    """An attempt that runs on the event loop, and where its notes go."""

    assignment: Assignment
    emit: Callable[[Note], None]


class LoopRunner:
    """Runs `async def` processors on the event loop; `running` tells which task runs which attempt.

    `overrides` are other factories for those that `Depends` names.
    """

    def __init__(self, overrides: Overrides | None = None) -> None:
        self.running: dict[asyncio.Task[Any], OnLoop] = {}
        self._overrides = overrides

    async def run(self, assignment: Assignment, emit: Callable[[Note], None]) -> Verdict:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a task
        self.running[task] = OnLoop(assignment, emit)
        notes = _LoopNotes(emit)
        runs_user_code.set(True)
        try:
            return await self._run(assignment, context_of(assignment, notes.emit))
        finally:
            notes.close()
            del self.running[task]

    async def _run(self, assignment: Assignment, job: JobContext) -> Verdict:
        limit, task = TimeLimit(assignment.timeout_s), asyncio.current_task()
        try:
            async with limit:
                result = await EndsForks(acall(assignment.processor, job, assignment.params, self._overrides))
            return returned(result, job, assignment.result_limit_bytes)
        except BaseException as error:
            if limit.expired():
                return timed_out(assignment.timeout_s)
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # somebody has cancelled the attempt; else the processor met the end of a task of its own
            return verdict_of(error)

    async def aclose(self) -> None:
        """Nothing is left: each run ends with its task."""


class _LoopNotes:
    """Passes the notes of one attempt on until it ends, also those from threads that the processor has started."""

    def __init__(self, emit: Callable[[Note], None]) -> None:
        self._emit: Callable[[Note], None] | None = emit
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._pid = os.getpid()

    def emit(self, note: Note) -> None:
        if os.getpid() != self._pid:
            self._warn_of_fork()
        elif threading.get_ident() == self._thread:
            self._pass_on(note)
        else:
            self._loop.call_soon_threadsafe(self._pass_on, note)

    def close(self) -> None:
        """What a thread or a task that was left running says from now on has no hearer."""
        self._emit = None

    def _warn_of_fork(self) -> None:
        """Say once, in the server's log, that nobody hears a fork of the server: it has no way to the loop."""
        import structlog  # noqa: PLC0415 - a child imports this module, and it need not pay for that one

        if self._emit is not None:
            structlog.get_logger().warning(
                "progress and log lines of a process that an `async def` processor forked are lost"
            )
            self._emit = None

    def _pass_on(self, note: Note) -> None:
        if self._emit is not None:
            self._emit(note)


def context_of(assignment: Assignment, emit: Callable[[Note], None]) -> JobContext:
    """Return the job as the processor sees it."""
    return JobContext(
        id=assignment.job_id,
        attempt=assignment.attempt,
        max_attempts=assignment.max_attempts,
        files=assignment.files,
        place=assignment.folder,
        metadata=assignment.metadata,
        emit=emit,
    )


def returned(result: Any, job: JobContext, limit_bytes: int = MOST_RESULT_BYTES) -> Verdict:
    """Return the verdict on a processor that returned: its result must be JSON, its outputs must be there."""
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        size_bytes = len(text.encode())
        if size_bytes <= limit_bytes:
            result = read_back(text)
    except Exception as error:  # noqa: BLE001 - the classes of what it returned may raise anything
        reason = TOO_DEEP if isinstance(error, RecursionError) else plain_text(error)
        return Refused("invalid_result", f"the processor returned what is not JSON: {reason}")
    if size_bytes > limit_bytes:
        sizes = f"{size_bytes} bytes of JSON, and at most {limit_bytes} are kept (FILEMILL_MAX_RESULT_BYTES)"
        return Refused("result_too_large", f"the result has {sizes}; write it to an output file instead")
    for output in job.outputs:
        if (fault := _fault_of(output.path)) is not None:
            return Refused("missing_output", f"the processor named the output {output.name!r} and {fault}")
    return Returned(result, tuple(job.outputs))


def _fault_of(path: Path) -> str | None:
    """Say what is wrong with the place of an output, if anything is."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return "did not write it"
    return None if stat.S_ISREG(mode) else f"made {kind_of(mode)} of it, where there must be a file"


def verdict_of(error: BaseException) -> Verdict:
    """Return the verdict on a processor that raised, whatever that is."""
    try:
        return _verdict_of(error)
    except BaseException:  # noqa: BLE001 - its parts may raise, too
        return Broke("failed", f"the processor raised {_class_of(error)}, which cannot be shown")


def _verdict_of(error: BaseException) -> Verdict:
    match error:
        case Fail():
            return Refused(plain_text(error.code, MAX_CODE_CHARS), plain_text(error))
        case Snooze():
            return Postponed(float(error.delay_s))
        case Retry():
            delay_s = error.delay_s
            return Broke("failed", plain_text(error), delay_s=None if delay_s is None else float(delay_s))
        case Exception():
            return Broke("failed", _sentence_of(error), facts=_trace_of(error))
        case _:  # such as SystemExit
            return Broke("failed", plain_text(f"the processor raised {_sentence_of(error)}"), facts=_trace_of(error))


def _sentence_of(error: BaseException) -> str:
    said = plain_text(error)
    return plain_text(f"{_class_of(error)}: {said}" if said else _class_of(error))


def _class_of(error: BaseException) -> str:
    """Return the name of its class, which a metaclass of its own cannot hide."""
    return plain_text(type.__dict__["__name__"].__get__(type(error)))


def _trace_of(error: BaseException) -> dict[str, Any]:
    with _cut_short(error) as is_short:
        # beyond that, of the last alone; a group is written with all that it holds
        lines = traceback.format_exception(error) if is_short else traceback.format_tb(error.__traceback__)
    return {"traceback": plain_text("".join(lines)[-MAX_TRACE_CHARS:], MAX_TRACE_CHARS)}


@contextlib.contextmanager
def _cut_short(error: BaseException) -> Iterator[bool]:
    """Keep only the last of the exceptions that led to this one, or to those of a group, and say whether that is few.

    A loop of retries may have chained thousands, and to write them all would hold up the loop.
    """
    cut: list[tuple[BaseException, BaseException | None, BaseException | None, bool]] = []
    seen: set[int] = set()
    todo = [(error, 0)]
    try:
        while todo and len(seen) <= MAX_EXCEPTIONS:
            one, depth = todo.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if depth == MAX_CHAIN:
                cut.append((one, one.__cause__, one.__context__, one.__suppress_context__))
                one.__cause__ = one.__context__ = None
            elif (before := one.__context__ if one.__cause__ is None else one.__cause__) is not None:
                todo.append((before, depth + 1))
            if isinstance(one, BaseExceptionGroup):
                todo += [(held, min(depth + 1, MAX_CHAIN)) for held in one.exceptions]
        yield not todo
    finally:
        for one, cause, context, is_suppressed in cut:
            one.__cause__, one.__context__, one.__suppress_context__ = cause, context, is_suppressed


def timed_out(timeout_s: float) -> Broke:
    """Return the verdict on an attempt that took too long."""
    return Broke("timed_out", f"the attempt was stopped after its limit of {timeout_s:g} s")
