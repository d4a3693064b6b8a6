"""One attempt of a job, as its processor sees it: what it is given, and what it may raise."""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_DELAY_S = 10 * 365 * 86400

# ---- what a processor may raise


class Retry(Exception):  # noqa: N818 - an instruction to the worker, not an error
    """Try this job again after `delay_s` seconds; it counts as a failed attempt. None leaves it to backoff.

    Raises:
        ValueError: the delay is not a finite number.
    """

    delay_s: float | None = None

    def __init__(self, message: str = "the processor asked for a retry", *, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = None if delay_s is None else _delay_s(delay_s)


class Fail(Exception):  # noqa: N818
    """Fail this job now, without another attempt. `code` is the stable name that programs test for."""

    code = "failed"

    def __init__(self, message: str, *, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code


class Snooze(Exception):  # noqa: N818
    """Run this job again after `delay_s` seconds, without counting the attempt.

    Raises:
        ValueError: the delay is not a finite number.
    """

    delay_s: float = 0

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"snoozed for {delay_s} s")
        self.delay_s = _delay_s(delay_s)


def _delay_s(delay_s: float) -> float:
    """Return the delay, at least 0 and at most ten years."""
    if not math.isfinite(delay_s):
        raise ValueError(f"delay_s is a finite number of seconds, not {delay_s}")
    return min(max(delay_s, 0), MAX_DELAY_S)


# ---- what a processor is given


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the job. `name` is what the client called it.

    `path` is this attempt's own view of its bytes, under a safe form of the name with its suffix; whatever becomes of
    it, the stored file stays as it is.
    """

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    path: Path


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that the processor wrote: the name that clients see, and where its bytes are."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class ProgressNote:
    """How far the processor is: `fraction` from 0 to 1."""

    fraction: float
    message: str


@dataclass(frozen=True, slots=True)
class LogNote:
    """One line for the job's log."""

    message: str
    fields: dict[str, Any]


Note = ProgressNote | LogNote


@dataclass(slots=True)
class JobContext:
    """One attempt of a job, as its processor sees it."""

    id: str
    attempt: int
    max_attempts: int
    files: Sequence[InputFile]
    place: Path
    metadata: dict[str, Any]
    emit: Callable[[Note], None]
    outputs: list[OutputFile] = field(default_factory=list)
    pid: int = field(default_factory=os.getpid, repr=False, compare=False)

    @property
    def file(self) -> InputFile:
        """The only input file, or the first."""
        return self.files[0]

    def each_file(self) -> Iterator[InputFile]:
        """Yield each input file, and say by its name how far the job is."""
        for number, file in enumerate(self.files):
            self.progress(number / len(self.files), file.name)
            yield file
        self.progress(1)

    @property
    def folder(self) -> Path:
        """A folder to work in: it belongs to this attempt alone, and is removed afterwards."""
        self.place.mkdir(exist_ok=True)
        return self.place

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is: `fraction` from 0 to 1, and a few words. What is no number counts as 0."""
        self.emit(ProgressNote(0.0 if math.isnan(fraction) else min(max(float(fraction), 0.0), 1.0), message))

    def log(self, message: str, **fields: Any) -> None:
        """Add a line to the job's log; the fields must be JSON-able."""
        self.emit(LogNote(message, fields))

    def output(self, name: str) -> Path:
        """Return the path to write the output file called `name` to.

        The name is what clients see; the path is made from a number and the name's suffix, so that no name
        can lead out of the folder. An output that is never written is an error of the processor. In a forked process
        there is no new output, for only that process would know of it: name it before the fork.
        """
        suffix = "".join(re.findall(r"\.[A-Za-z0-9]{1,10}\Z", name))
        number = f"{len(self.outputs):04d}"
        if (pid := os.getpid()) != self.pid:
            self.log("an output that a forked process names is none of the job's: name it before the fork", name=name)
            number = f"{pid}-{number}"  # or it would be written over one that is
        path = self.folder / f"output-{number}{suffix}"
        self.outputs.append(OutputFile(name, path))
        return path
