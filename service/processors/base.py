"""What a processor is, and what it is given.

    @processor("text.count", accepts=["text/*"])
    def count(job: JobContext, unit: Literal["words", "lines"] = "words") -> dict[str, int]:
        \"\"\"Count the words or lines of each input file.\"\"\"

A plain `def` runs in a child process, an `async def` on the event loop. The keyword parameters are the job's
params. The return value is the job's result.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from service.errors import FieldError, FileCountError, InvalidParamsError, MediaTypeNotAcceptedError
from service.processors.params import params_model

Lane = Literal["loop", "child"]
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


# ---- what a processor may raise


class Retry(Exception):  # noqa: N818 - an instruction to the worker, not an error
    """Try this job again after `delay_s` seconds; it counts as a failed attempt. None leaves it to backoff."""

    def __init__(self, message: str = "the processor asked for a retry", *, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class Fail(Exception):  # noqa: N818
    """Fail this job now, without another attempt. `code` is the stable name that programs test for."""

    def __init__(self, message: str, *, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code


class Snooze(Exception):  # noqa: N818
    """Run this job again after `delay_s` seconds, without counting the attempt."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"snoozed for {delay_s} s")
        self.delay_s = delay_s


# ---- what a processor is given


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the job. `path` is where its bytes are, to read only; `name` is what the client called it."""

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

    @property
    def file(self) -> InputFile:
        """The only input file, or the first."""
        return self.files[0]

    @property
    def folder(self) -> Path:
        """A folder to work in: it belongs to this attempt alone, and is removed afterwards."""
        self.place.mkdir(exist_ok=True)
        return self.place

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the work is: `fraction` from 0 to 1, and a few words."""
        self.emit(ProgressNote(min(max(float(fraction), 0.0), 1.0), message))

    def log(self, message: str, **fields: Any) -> None:
        """Add a line to the job's log; the fields must be JSON-able."""
        self.emit(LogNote(message, fields))

    def output(self, name: str) -> Path:
        """Return the path to write the output file called `name` to.

        The name is what clients see; the path is made from a number and the name's suffix, so that no name
        can lead out of the folder. An output that is never written is an error of the processor.
        """
        suffix = "".join(re.findall(r"\.[A-Za-z0-9]{1,10}\Z", name))
        path = self.folder / f"output-{len(self.outputs):04d}{suffix}"
        self.outputs.append(OutputFile(name, path))
        return path


# ---- the processor itself


@dataclass(frozen=True, slots=True)
class Processor:
    """A function with what the service must know of it.

    `accepts` are media types, with `*` as a wildcard after the slash; `max_files` None leaves the number to the
    server's setting; a limit that is None is the server's default.
    """

    name: str
    function: Callable[..., Any]
    params: type[BaseModel]
    summary: str
    accepts: tuple[str, ...]
    min_files: int
    max_files: int | None
    timeout_s: float | None
    max_attempts: int | None

    def __call__(self, job: JobContext, **params: Any) -> Any:
        """Call the function itself, as a test would."""
        return self.function(job, **params)

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def lane(self) -> Lane:
        """Where it runs: on the event loop, or in a child process."""
        return "loop" if self.is_async else "child"

    @property
    def params_schema(self) -> dict[str, Any]:
        """The JSON Schema of the params."""
        return self.params.model_json_schema()

    def check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the params, complete with defaults and JSON-able.

        Raises:
            InvalidParamsError: with an entry for each param that does not fit.
        """
        try:
            return self.params.model_validate(params).model_dump(mode="json")
        except ValidationError as error:
            errors = [_field_error(item) for item in error.errors(include_url=False)]
            names = ", ".join(item.field for item in errors)
            raise InvalidParamsError(f"{self.name} cannot take these params: {names}", errors=errors) from None

    def arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return checked params as the function takes them: a date as a `date`, not as its JSON string."""
        model = self.params.model_validate(params)
        return {name: getattr(model, name) for name in self.params.model_fields}

    def check_file_count(self, count: int) -> None:
        """Raise `FileCountError` when the processor takes more or fewer files."""
        if count < self.min_files or (self.max_files is not None and count > self.max_files):
            raise FileCountError(f"{self.name} takes {self._file_count()}, not {count}")

    def check_media_type(self, name: str, media_type: str) -> None:
        """Raise `MediaTypeNotAcceptedError` when the processor does not take such a file."""
        if not any(_matches(media_type, pattern) for pattern in self.accepts):
            wanted = ", ".join(self.accepts)
            raise MediaTypeNotAcceptedError(
                f"the content of {name[:200]!r} is {media_type}; {self.name} accepts {wanted}"
            )

    def _file_count(self) -> str:
        if self.max_files == 0:
            return "no file"
        if self.max_files == self.min_files:
            return f"exactly {self.min_files} file{'s' * (self.min_files != 1)}"
        if self.max_files is None:
            return f"at least {self.min_files} file{'s' * (self.min_files != 1)}"
        return f"{self.min_files} to {self.max_files} files"


def processor(
    name: str,
    *,
    accepts: Sequence[str] = ("*/*",),
    min_files: int = 1,
    max_files: int | None = None,
    timeout_s: float | None = None,
    max_attempts: int | None = None,
) -> Callable[[Callable[..., Any]], Processor]:
    """Make a processor of a function; `name` is lower case with dots, such as `image.thumbnail`.

    Raises:
        TypeError: the signature cannot become a schema.
        ValueError: the name is not valid.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a processor name: lower-case words with dots between")

    def decorate(function: Callable[..., Any]) -> Processor:
        summary = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
        return Processor(
            name=name,
            function=function,
            params=params_model(name, function),
            summary=summary,
            accepts=tuple(accepts),
            min_files=min_files,
            max_files=max_files,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
        )

    return decorate


def _matches(media_type: str, pattern: str) -> bool:
    if pattern == "*/*":
        return True
    family, _, kind = pattern.partition("/")
    return media_type == pattern or (kind == "*" and media_type.startswith(family + "/"))


def _field_error(item: Any) -> FieldError:
    path = ".".join(["params", *map(str, item["loc"])])
    return FieldError(path, item["type"], item["msg"])
