"""What came back: the server's answers as values, and its refusals as exceptions. No I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import httpx

from service.errors import FieldError
from service.states import TERMINAL, State

T = TypeVar("T")
_NOT_OURS = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


# ---- refusals


class ClientError(Exception):
    """Base of all that the client raises."""


class ProblemError(ClientError):
    """The server said no, in problem details (RFC 9457)."""

    def __init__(self, status: int, code: str, title: str, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail or title)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)


class ServerUnreachableError(ClientError):
    """No server answers at the URL, or the connection broke."""


class UnsendableError(ClientError, ValueError):
    """What was given cannot be written as a request: it is no text, no JSON, or no value of a header."""


class WaitTimeoutError(ClientError):
    """The job did not finish in time. It goes on; `job` is how it stood."""

    def __init__(self, job: "Job", timeout_s: float) -> None:
        super().__init__(f"job {job.id} is still {job.state.value} after {timeout_s:g} s; it goes on")
        self.job = job


class DamagedDownloadError(ClientError):
    """The bytes that arrived are not the bytes that the server stored."""


class FileChangedError(ClientError):
    """A file was changed while it was sent; the server took nothing of it."""

    def __init__(self, path: str, how: str) -> None:
        super().__init__(f"{path} changed while it was sent: {how}; nothing was taken, send it again once it is still")
        self.path = path


# ---- values


@dataclass(frozen=True, slots=True)
class File:
    """A stored file. `name` is what somebody called it, and never a path: see `bare_name`."""

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `raw` is the server's answer, with whatever a newer server adds.

    In a list, `omitted` are the names of the fields that are left out or cut because they are large: `get` has them.
    """

    id: str
    processor: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    state: State
    priority: int
    progress_fraction: float
    progress_message: str
    attempt: int
    max_attempts: int
    timeout_s: float
    created_at: datetime
    run_after: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    inputs: tuple[File, ...]
    outputs: tuple[File, ...]
    result: Any
    error: dict[str, Any] | None
    raw: dict[str, Any] = field(repr=False, compare=False)
    omitted: tuple[str, ...] = ()

    @property
    def input_count(self) -> int:
        """How many inputs it has, also where `inputs` does not name all."""
        return int(self.raw.get("input_count", len(self.inputs)))

    @property
    def is_finished(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class ProcessorInfo:
    """A processor that the server has; `raw` is the server's answer."""

    name: str
    summary: str
    accepts: tuple[str, ...]
    params_schema: dict[str, Any]
    limits: dict[str, float | None]
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """In seconds; None where nothing ended."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of the service; `raw` is the server's answer.

    `jobs` counts by state, `processors` the same for each. `throughput` says how many jobs a second ended in each of
    the last slices of time, the oldest first. `occupancy` says how many jobs run in a lane, and how many could.
    """

    jobs: dict[str, int]
    processors: dict[str, dict[str, int]]
    oldest_queued_age_s: float | None
    window_s: float
    throughput: tuple[float, ...]
    wait_s: Percentiles
    run_s: Percentiles
    occupancy: dict[str, tuple[int, int]]
    raw: dict[str, Any] = field(repr=False, compare=False)


# ---- reading


def parse_job(body: Any) -> Job:
    """Read a job."""
    same = (
        "id",
        "processor",
        "priority",
        "attempt",
        "max_attempts",
        "timeout_s",
    )
    return Job(
        **{name: body[name] for name in same},
        # what is large may not have been asked for
        params=body.get("params", {}),
        metadata=body.get("metadata", {}),
        result=body.get("result"),
        error=body.get("error"),
        omitted=tuple(body.get("omitted", ())),
        state=State(body["state"]),
        progress_fraction=body["progress"]["fraction"],
        progress_message=body["progress"]["message"] or "",
        created_at=datetime.fromisoformat(body["created_at"]),
        run_after=_moment(body["run_after"]),
        started_at=_moment(body["started_at"]),
        finished_at=_moment(body["finished_at"]),
        inputs=tuple(parse_file(one) for one in body.get("inputs", ())),
        outputs=tuple(parse_file(one) for one in body.get("outputs", ())),
        raw=body,
    )


def parse_page(body: Any) -> tuple[tuple[Job, ...], str | None]:
    """Read a page of jobs, and the cursor of the next."""
    return tuple(parse_job(one) for one in body["items"]), body["next_cursor"]


def parse_files(body: Any) -> tuple[tuple[File, ...], str | None]:
    """Read a page of files, and the cursor of the next."""
    return tuple(parse_file(one) for one in body["items"]), body["next_cursor"]


def parse_file(body: Any) -> File:
    """Read a file."""
    same = ("id", "name", "media_type", "size_bytes", "sha256")
    return File(**{name: body[name] for name in same}, created_at=datetime.fromisoformat(body["created_at"]))


def parse_processor(body: Any) -> ProcessorInfo:
    """Read a processor."""
    same = ("name", "summary", "params_schema", "limits")
    return ProcessorInfo(**{name: body[name] for name in same}, accepts=tuple(body["accepts"]), raw=body)


def parse_processors(body: Any) -> tuple[ProcessorInfo, ...]:
    """Read the catalogue."""
    return tuple(parse_processor(one) for one in body["items"])


def parse_stats(body: Any) -> Stats:
    """Read the figures of the service."""
    slices = body["throughput"]
    slice_s = body["window_s"] / max(1, len(slices))
    return Stats(
        jobs=dict(body["jobs"]),
        processors={one["name"]: {state.value: one[state.value] for state in State} for one in body["processors"]},
        oldest_queued_age_s=body["oldest_queued_age_s"],
        window_s=body["window_s"],
        throughput=tuple((one["succeeded"] + one["failed"]) / slice_s for one in slices),
        wait_s=Percentiles(**body["wait_s"]),
        run_s=Percentiles(**body["run_s"]),
        occupancy={lane: (one["busy"], one["places"]) for lane, one in body["consumers"].items()},
        raw=body,
    )


def read_answer(response: httpx.Response, parse: Callable[[Any], T]) -> T:
    """Return what `parse` makes of the body.

    Raises:
        ProblemError: the server said no, or what answered is no Filemill server.
    """
    refuse_problem(response)
    try:
        return parse(response.json())
    except _NOT_OURS as error:
        raise _not_ours(response) from error


def refuse_problem(response: httpx.Response) -> None:
    """Raise `ProblemError` when the server said no; the body must have been read."""
    if not response.is_success:
        raise _problem(response)


def _problem(response: httpx.Response) -> ProblemError:
    try:
        body = response.json()
        errors = [FieldError(one["field"], one["code"], one["message"]) for one in body.get("errors") or ()]
        return ProblemError(response.status_code, body["code"], body["title"], body.get("detail") or "", errors)
    except _NOT_OURS:
        return _not_ours(response)


def _not_ours(response: httpx.Response) -> ProblemError:
    status = f"{response.status_code} {response.reason_phrase}".strip()
    return ProblemError(
        response.status_code,
        "unexpected_answer",
        "The answer is not that of a Filemill server",
        f"{response.request.url} answered {status}, but not as a Filemill server would; is the URL right?",
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
