"""Running one attempt: what goes in, and what it came to.

A runner never raises for what the processor did: every end is a value, a `Verdict`. Only cancellation passes
through, after the processor has been stopped.
"""

import asyncio
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from service.processors.base import Fail, InputFile, JobContext, Note, OutputFile, Processor, Retry, Snooze


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt of a job, ready to run. `folder` exists, is empty, and belongs to this attempt."""

    job_id: str
    attempt: int
    max_attempts: int
    processor: Processor
    params: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[InputFile, ...]
    folder: Path
    timeout_s: float


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


class LoopRunner:
    """Runs `async def` processors on the event loop."""

    async def run(self, assignment: Assignment, emit: Callable[[Note], None]) -> Verdict:
        job = context_of(assignment, emit)
        limit = asyncio.timeout(assignment.timeout_s)
        try:
            async with limit:
                result = await assignment.processor.function(job, **assignment.processor.arguments(assignment.params))
            return returned(result, job)
        except Exception as error:  # noqa: BLE001 - whatever a processor raises is its verdict
            return timed_out(assignment.timeout_s) if limit.expired() else verdict_of(error)

    async def aclose(self) -> None:
        """Nothing is left: each run ends with its task."""


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


def returned(result: Any, job: JobContext) -> Verdict:
    """Return the verdict on a processor that returned: its result must be JSON, its outputs must be there."""
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError) as error:
        return Refused("invalid_result", f"the processor returned what is not JSON: {error}")
    for output in job.outputs:
        if output.path.is_symlink() or not output.path.is_file():
            return Refused("missing_output", f"the processor named the output {output.name!r} and did not write it")
    return Returned(result, tuple(job.outputs))


def verdict_of(error: Exception) -> Verdict:
    """Return the verdict on a processor that raised."""
    match error:
        case Fail():
            return Refused(error.code, str(error))
        case Snooze():
            return Postponed(error.delay_s)
        case Retry():
            return Broke("failed", str(error), delay_s=error.delay_s)
        case _:
            trace = "".join(traceback.format_exception(error))[-8000:]
            return Broke("failed", f"{type(error).__name__}: {error}"[:2000], facts={"traceback": trace})


def timed_out(timeout_s: float) -> Broke:
    """Return the verdict on an attempt that took too long."""
    return Broke("timed_out", f"the attempt was stopped after its limit of {timeout_s:g} s")
