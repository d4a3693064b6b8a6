"""What a processor is, and what it is given.

    @processor("text.count", accepts=["text/*"])
    def count(job: JobContext, unit: Literal["words", "lines"] = "words") -> dict[str, int]:
        \"\"\"Count the words or lines of each input file.\"\"\"

A plain `def` runs in a child process, an `async def` on the event loop. The keyword parameters are the job's
params. The return value is the job's result.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from service.errors import (
    FieldError,
    FileCountError,
    InvalidParamsError,
    MediaTypeNotAcceptedError,
    ProcessorUnavailableError,
    names_of,
    plain_reason,
)
from service.processors.dependencies import Needs, needs_of
from service.processors.docstrings import prose_of
from service.processors.job import (
    Fail,
    InputFile,
    JobContext,
    LogNote,
    Note,
    OutputFile,
    ProgressNote,
    Retry,
    Snooze,
)
from service.processors.params import hints_of, params_model

__all__ = [
    "Fail", "InputFile", "JobContext", "Lane", "LogNote", "Note", "OutputFile", "Processor", "ProgressNote", "Retry",
    "Snooze", "processor",
]  # fmt: skip

Lane = Literal["loop", "child"]
MIN_MEMORY_BYTES = 64 * 1024**2  # with less, a child cannot even call the function
_MEDIA_TYPE = re.compile(r"\*/\*|[a-z0-9][a-z0-9.+-]*/(\*|[a-z0-9][a-z0-9.+-]*)")
EMPTY = "application/x-empty"
MAX_WEIGHT = 100
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Processor:
    """A function with what the service must know of it.

    `accepts` are media types, with `*` as a wildcard after the slash; `max_files` None leaves the number to the
    server's setting; a limit that is None is the server's default. `requires` are the modules that the function
    imports when it is called; `extra` is the extra of `filemill` that installs them. One that `reads_only` never writes
    into an input. `details` is what the docstring
    says after the summary; `needs` are the dependencies.
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
    memory_limit_bytes: int | None = None
    max_concurrency: int | None = None
    weight: int = 1
    extra: str | None = None
    requires: tuple[str, ...] = ()
    reads_only: bool = False
    details: str = ""
    needs: Needs = field(default_factory=dict)

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

    @property
    def missing(self) -> list[str]:
        """The modules that it requires and that are not installed; none is imported to find out."""
        return [name for name in self.requires if not _is_installed(name)]

    @property
    def is_available(self) -> bool:
        """Whether all that it requires is installed."""
        return not self.missing

    @property
    def install(self) -> str | None:
        """The command that installs what it requires, as far as an extra does."""
        return None if self.extra is None else f'pip install "filemill[{self.extra}]"'

    def check_available(self) -> None:
        """Raise `ProcessorUnavailableError` when a module that it requires is not installed."""
        if missing := self.missing:
            how = f"install it with: {self.install}" if self.install else "install it beside the server"
            raise ProcessorUnavailableError(f"{self.name} needs {', '.join(missing)}, not installed here; {how}")

    def check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the params as they came, once they are known to fit.

        Raises:
            InvalidParamsError: with an entry for each param that does not fit.
        """
        self._read(params)
        return params

    def arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the client's params as the function takes them: complete, and a date as a `date`.

        Raises:
            Fail: they do not fit, as after a change of the processor since the job was submitted.
        """
        try:
            model = self._read(params)
        except InvalidParamsError as error:
            raise Fail(f"{error.detail}; submit the job again", code="invalid_params") from None
        return {name: getattr(model, name) for name in self.params.model_fields}

    def _read(self, params: dict[str, Any]) -> BaseModel:
        try:
            return self.params.model_validate(params)
        except ValidationError as error:
            errors = [_field_error(item, self.params) for item in error.errors(include_url=False)]
            detail = f"{self.name} cannot take these params: {names_of(errors)}"
            raise InvalidParamsError(detail, errors=errors) from None

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


def processor(  # noqa: PLR0913 - one parameter for each thing to say of a processor
    name: str,
    *,
    accepts: Sequence[str] = ("*/*",),
    min_files: int = 1,
    max_files: int | None = None,
    timeout_s: float | None = None,
    max_attempts: int | None = None,
    memory_limit_bytes: int | None = None,
    max_concurrency: int | None = None,
    weight: int = 1,
    extra: str | None = None,
    requires: Sequence[str] = (),
    reads_only: bool = False,
) -> Callable[[Callable[..., Any]], Processor]:
    """Make a processor of a function; `name` is lower case with dots, such as `image.thumbnail`.

    Args:
        name: what jobs call it.
        accepts: media types that it takes: `image/png`, `image/*` or `*/*`.
        min_files: least number of input files.
        max_files: greatest number of input files; by default what the server takes.
        timeout_s: limit of one attempt; a job may ask for another.
        max_attempts: how often to try in all; a job may ask for another number.
        memory_limit_bytes: what the child process of a `def` may use.
        max_concurrency: how many of its jobs run at the same time.
        weight: how many turns it has, where jobs of several processors wait, for one of another; 1 to 100.
        extra: the extra of `filemill` that installs what it requires.
        requires: modules, by their first name, without which it is listed as unavailable.
        reads_only: a promise that it only opens its inputs to read them, and starts no tool that would write into
            one; such inputs cost nothing, however large. Otherwise each attempt has copies that are its own.

    Raises:
        TypeError: the signature cannot become a schema, or the function cannot be called with a job.
        ValueError: the name, a media type, the number of files, a limit or the weight is not valid.
    """
    if not isinstance(name, str):
        raise TypeError('write @processor("its.name"): the decorator is called, with a name')
    if not is_name(name):
        raise ValueError(f"{name!r} is not a processor name: lower-case words with dots between")
    for one in accepts:
        if not _MEDIA_TYPE.fullmatch(one):
            raise ValueError(f"{name}: {one!r} in accepts is not a media type: write image/png, image/* or */*")
    if min_files < 0 or (max_files is not None and max_files < min_files):
        raise ValueError(f"{name}: no number of files is {min_files} or more and {max_files} or less")
    if weight not in range(1, MAX_WEIGHT + 1):
        raise ValueError(f"{name}: weight is {weight}, and must be a whole number from 1 to {MAX_WEIGHT}")
    _check_limits(
        name,
        timeout_s=(timeout_s, 0.001),
        max_attempts=(max_attempts, 1),
        max_concurrency=(max_concurrency, 1),
        memory_limit_bytes=(memory_limit_bytes, MIN_MEMORY_BYTES),
    )

    def decorate(function: Callable[..., Any]) -> Processor:
        prose = prose_of(function)
        needs = needs_of(name, hints_of(name, function))
        return Processor(
            name=name,
            function=function,
            params=params_model(name, function, needs, prose.params),
            summary=prose.summary,
            details=prose.details,
            needs=needs,
            accepts=tuple(accepts),
            min_files=min_files,
            max_files=max_files,
            timeout_s=timeout_s,
            max_attempts=max_attempts,
            memory_limit_bytes=memory_limit_bytes,
            max_concurrency=max_concurrency,
            weight=weight,
            extra=extra,
            requires=tuple(requires),
            reads_only=reads_only,
        )

    return decorate


def is_name(name: str) -> bool:
    """Return whether a processor may be called so."""
    return _NAME.fullmatch(name) is not None


def _check_limits(name: str, **limits: tuple[float | None, float]) -> None:
    for limit, (value, least) in limits.items():
        if value is not None and not value >= least:
            raise ValueError(f"{name}: {limit} is {value}, and must be at least {least:,}")


def _matches(media_type: str, pattern: str) -> bool:
    if pattern == "*/*":
        return True
    family, _, kind = pattern.partition("/")
    if media_type == EMPTY and family == "text":
        return True  # no bytes are no words
    return media_type == pattern or (kind == "*" and media_type.startswith(family + "/"))


def _is_installed(module: str) -> bool:
    """Return whether the module can be found; of a dotted one only the first name, for the rest would import it."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except ValueError:  # a module that somebody made by hand
        return True


def _field_error(item: Any, params: type[BaseModel]) -> FieldError:
    path = ".".join(["params", *map(str, item["loc"])])
    is_unknown = item["type"] == "extra_forbidden" and len(item["loc"]) == 1
    message = _no_such_param(list(params.model_fields)) if is_unknown else plain_reason(item["msg"])
    return FieldError(path, item["type"], message)


def _no_such_param(names: list[str]) -> str:
    match names:
        case []:
            return "there is no such param; it takes none"
        case [name]:
            return f"there is no such param; there is only {name}"
        case _:
            return f"there is no such param; there are {', '.join(names)}"
