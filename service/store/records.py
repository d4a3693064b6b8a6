"""What goes into the store and comes out of it, as values."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.states import Move
from service.store.models import File, Job


@dataclass(frozen=True, slots=True)
class NewFile:
    """A stored file, not yet a row."""

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What to remember of a request that carries an idempotency key."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be added: its inputs are the files uploaded for it, then those that were stored before."""

    id: str
    processor: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    priority: int
    max_attempts: int
    timeout_s: float
    created_at: datetime
    run_after: datetime
    uploads: tuple[NewFile, ...] = ()
    stored: tuple[NewFile, ...] = ()
    first_answer: FirstAnswer | None = None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as a client sees it: its row and its files.

    In a list, `omitted` are the names of the fields that are not whole, and there may be more files than are given.
    """

    job: Job
    inputs: tuple[File, ...] = ()
    outputs: tuple[File, ...] = ()
    omitted: tuple[str, ...] = ()
    more_inputs: int = 0
    more_outputs: int = 0


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job that a worker has won, with all that is needed to run it."""

    id: str
    processor: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    priority: int
    attempt: int
    max_attempts: int
    timeout_s: float
    ready_at: datetime
    started_at: datetime
    inputs: tuple[NewFile, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that a worker has by the database, and the attempt as it was claimed."""

    id: str
    attempt: int
    max_attempts: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's wish to run a job."""

    job_id: str
    worker_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt came to. It counts only while `worker_id` and `attempt` still hold the job.

    An attempt that is given back is followed by one of the same number, perhaps of the same worker. `started_at`, as
    it was claimed, tells them apart; None stands for either.
    """

    job_id: str
    worker_id: str
    attempt: int
    move: Move
    at: datetime
    run_after: datetime | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    outputs: tuple[NewFile, ...] = ()
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """Progress and log lines of a running attempt, as rows for the events table; held like a `Settlement`."""

    job_id: str
    worker_id: str
    attempt: int
    events: tuple[dict[str, Any], ...] = field(default=())
    fraction: float | None = None
    message: str | None = None
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A job that may be claimed now."""

    id: str
    processor: str
    priority: int
