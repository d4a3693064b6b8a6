"""The tables, and their indexes.

Ids are UUIDv7 in text: they sort by the instant they were made, so `ORDER BY id` is the order of creation, and
a bound on `created_at` is a bound on the id.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Dialect, Index, Integer, Text, TypeDecorator, text
from sqlmodel import Field, SQLModel

from service.states import State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC `datetime`, kept as whole microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - the base calls it so
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base calls it so
        return None if value is None else _EPOCH + value * _MICROSECOND


class JsonText(str):
    """A value that is JSON already."""

    __slots__ = ()


class Json(TypeDecorator[Any]):
    """What JSON can say, as text: SQLite would turn a column called JSON into numbers where it can. None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the base calls it so
        return value if value is None or type(value) is JsonText else to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002 - the base calls it so
        return None if value is None else json.loads(value)


to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _instant(*, nullable: bool = False) -> Any:
    return Column(Instant(), nullable=nullable)


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where))


class Job(SQLModel, table=True):
    """One row for each job.

    `rank` is the priority with its sign turned: one plain index then gives the order of work, rank by rank and the
    oldest first.

    `scheduled` is true while the job is queued for a later moment (`run_after`); the stager makes it false when
    the moment has come, so that the index of what is ready holds nothing else.

    `losses` counts how often in a row the worker died while it ran the job: an attempt that ends by itself sets it
    back to 0.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_by_state", "state", "id"),
        Index("jobs_by_processor", "processor", "state", "id"),
        # the hot ones are partial: they hold the few rows that are in play, however many there are in all
        _partial("jobs_ready", "processor", "rank", "id", where="state = 'queued' AND scheduled = 0"),
        # it begins with the state, or SQLite would rather take `jobs_by_state` and sort all that is queued
        _partial("jobs_scheduled", "state", "run_after", where="state = 'queued' AND scheduled = 1"),
        _partial("jobs_running", "worker_id", where="state = 'running'"),
        _partial("jobs_finished", "finished_at", where="finished_at IS NOT NULL"),
        _partial("jobs_lost", "state", "losses", where="losses > 0"),
    )

    id: str = Field(primary_key=True)
    processor: str
    params: dict[str, Any] = Field(sa_type=Json)
    # `metadata` is taken by SQLAlchemy
    metadata_: dict[str, Any] = Field(sa_column=Column("metadata", Json, nullable=False))
    state: State = Field(sa_type=Text)
    rank: int
    scheduled: bool
    attempt: int
    max_attempts: int
    timeout_s: float
    created_at: datetime = Field(sa_column=_instant())
    run_after: datetime = Field(sa_column=_instant())
    started_at: datetime | None = Field(default=None, sa_column=_instant(nullable=True))
    finished_at: datetime | None = Field(default=None, sa_column=_instant(nullable=True))
    worker_id: str | None = None
    progress_fraction: float = 0.0
    progress_message: str = ""
    result: Any = Field(default=None, sa_column=Column(Json, nullable=True))
    error: dict[str, Any] | None = Field(default=None, sa_column=Column(Json, nullable=True))
    losses: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))

    @property
    def priority(self) -> int:
        """How urgent the job is: of two that are ready, the one with the higher priority runs first."""
        return -self.rank


class File(SQLModel, table=True):
    """One row for each stored file; its bytes are in the storage, under its id.

    A file lives as long as a job has it as input or output, or while it is `kept`: uploaded for itself.

    `last_used_at` is there while no job has a file that is kept: when it was stored, or when its last job went.
    """

    __tablename__ = "files"
    __table_args__ = (
        _partial("files_unused", "last_used_at", where="last_used_at IS NOT NULL"),
        _partial("files_unused_by_id", "id", where="last_used_at IS NOT NULL"),
    )

    id: str = Field(primary_key=True)
    name: str
    media_type: str
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str
    kept: bool
    created_at: datetime = Field(sa_column=_instant())
    last_used_at: datetime | None = Field(default=None, exclude=True, sa_column=_instant(nullable=True))


class JobFile(SQLModel, table=True):
    """Which files a job has: `role` is `input` or `output`, `position` counts from 0.

    A row outlives its file, with `file_id` NULL: a job that has lost an input must not be run again without it.
    """

    __tablename__ = "job_files"
    __table_args__ = (Index("job_files_by_file", "file_id"),)

    job_id: str = Field(primary_key=True, foreign_key="jobs.id", ondelete="CASCADE")
    role: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    file_id: str | None = Field(foreign_key="files.id", ondelete="SET NULL")


class Event(SQLModel, table=True):
    """What happened to a job, in order: `kind` is `state`, `progress` or `log`."""

    __tablename__ = "events"
    __table_args__ = (Index("events_by_job", "job_id", "id"), {"sqlite_autoincrement": True})

    id: int | None = Field(
        default=None,
        sa_column=Column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    )
    job_id: str = Field(foreign_key="jobs.id", ondelete="CASCADE")
    at: datetime = Field(sa_column=_instant())
    kind: str
    attempt: int
    data: dict[str, Any] = Field(sa_type=Json)


class IdempotencyKey(SQLModel, table=True):
    """The first answer to a request that carried an `Idempotency-Key`."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_by_age", "created_at"),)

    key: str = Field(primary_key=True)
    fingerprint: str
    created_at: datetime = Field(sa_column=_instant())
    answer: dict[str, Any] = Field(sa_type=Json)
