"""A page of the jobs table, bounded in bytes: what is large is left out by SQLite itself, so that nobody holds it.

A page is read in two steps of one transaction: what its jobs weigh, then as many of them as it has room for. A page of
few jobs, of which nothing large is wanted, is read at once: together they cannot weigh much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    BLOB,
    ColumnElement,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    type_coerce,
    union_all,
)
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from service.settings import KIB, MIB
from service.states import State
from service.store.ids import first_id_at
from service.store.models import File, Job, Json
from service.store.records import JobRecord
from service.store.rows import as_loaded
from service.store.tables import files, in_state, job_files, jobs

LARGE_BYTES = 4 * KIB  # of one field's JSON; what is longer is left out of a list
PAGE_BYTES = MIB  # about; a page that would weigh more has fewer jobs, but at least one
WHOLE_PAGE_BYTES = 8 * MIB  # the same, where large fields were asked for
MOST_FILES, MOST_NAME_CHARS = 20, 256  # of the inputs of a job, and of its outputs
LEAVABLE = ("params", "metadata", "result")
_ROLES = ("input", "output")
_FEW = 64
_HEAVY = frozenset({*LEAVABLE, "error", "inputs", "outputs"})
_MESSAGE_CHARS = 2000
_ROW_BYTES, _FILE_BYTES = KIB, 640  # what the rest of a job weighs as JSON, and a file with a name of usual length


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; `before_id` is the id that the page before ended with.

    `fields` are the names of those that are wanted, and then `params`, `metadata` and `result` are given however large
    they are. None stands for all, without what is large.
    """

    state: State | None = None
    processor: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before_id: str | None = None
    limit: int = 50
    fields: frozenset[str] | None = None

    @property
    def heavy(self) -> frozenset[str] | None:
        """The wanted ones of those fields that can be large; None for all."""
        return None if self.fields is None else self.fields & _HEAVY

    @property
    def is_light(self) -> bool:
        """Whether its page cannot weigh much."""
        return self.limit < _FEW and (self.fields is None or self.fields.isdisjoint(LEAVABLE))

    def wants(self, field: str) -> bool:
        """Whether the field is to be read at all."""
        return self.fields is None or field in self.fields


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, the newest first; `next_id` is the `before_id` of the next page, or None on the last."""

    records: list[JobRecord]
    next_id: str | None


@dataclass(frozen=True, slots=True)
class _Weight:
    """What a job weighs: bytes of JSON by field, and how many files it has."""

    id: str
    sizes: dict[str, int]
    input_count: int
    output_count: int
    job: Job | None

    def kept_bytes(self, wanted: JobFilter) -> int:
        """Return what is left of it in a list."""
        left_out = sum(self.sizes[name] for name in self.shortened(wanted) if name != "error")
        shown = min(self.input_count, MOST_FILES) + min(self.output_count, MOST_FILES)
        return _ROW_BYTES + sum(self.sizes.values()) - left_out + shown * _FILE_BYTES

    def shortened(self, wanted: JobFilter) -> list[str]:
        """Return the names of the texts that are too large for a list."""
        return [
            name
            for name, size_bytes in self.sizes.items()
            if size_bytes > LARGE_BYTES and (name == "error" or (name in LEAVABLE and wanted.fields is None))
        ]


async def read_page(session: AsyncSession, wanted: JobFilter) -> Page:
    """Return up to `limit` jobs: fewer where they would weigh more than a page may."""
    found = await _weigh(session, wanted)
    chosen = _fitting(found[: wanted.limit], wanted)
    rows = {one.id: one.job for one in chosen if one.job} or await _rows_of(session, wanted, chosen)
    shown = await _first_files(session, wanted, chosen)
    records = [_record(rows[one.id], one, wanted, shown) for one in chosen]
    return Page(records, chosen[-1].id if len(found) > len(chosen) else None)


def _record(job: Job, weight: _Weight, wanted: JobFilter, shown: "_Shown") -> JobRecord:
    inputs, outputs = (tuple(shown.files[role].get(job.id, ())) for role in _ROLES)
    more_inputs, more_outputs = weight.input_count - len(inputs), weight.output_count - len(outputs)
    omitted = {*weight.shortened(wanted), *shown.cut.get(job.id, ())}
    omitted |= {name for name, more in (("inputs", more_inputs), ("outputs", more_outputs)) if more > 0}
    return JobRecord(job, inputs, outputs, tuple(sorted(omitted)), more_inputs, more_outputs)


# ---- what the jobs weigh


async def _weigh(session: AsyncSession, wanted: JobFilter) -> list[_Weight]:
    """Return the weights of the jobs of the page, and of one more if there is one; if it is light, with their rows."""
    texts, names = _texts(wanted), _names(wanted)
    found = await session.exec(_page_of(wanted, _weights(wanted.heavy, with_rows=wanted.is_light)))
    width = len(texts)
    return [
        _Weight(
            row[0],
            dict(zip(texts, row[3 : 3 + width], strict=True)),
            row[1],
            row[2],
            _job(names, row[3 + width :]) if wanted.is_light else None,
        )
        for row in found
    ]


@lru_cache
def _weights(heavy: frozenset[str] | None, *, with_rows: bool) -> Any:
    """Return the statement that weighs all jobs; to put one together takes longer than to run it."""
    wanted = JobFilter(fields=heavy)
    counts = [_count_files(role) if wanted.wants(f"{role}s") else literal(0) for role in _ROLES]
    sizes = [func.coalesce(_bytes_of(jobs.c[name]), 0) for name in _texts(wanted)]
    return select(jobs.c.id, *counts, *sizes, *(_columns(wanted) if with_rows else ()))


def _texts(wanted: JobFilter) -> list[str]:
    return [name for name in (*LEAVABLE, "error") if wanted.wants(name)] + ["progress_message"]


def _bytes_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the expression for the bytes of a text: `length` of a text counts characters."""
    return func.length(cast(column, BLOB))


def _count_files(role: str) -> ColumnElement[Any]:
    return (
        select(func.count(job_files.c.file_id))
        .where(job_files.c.job_id == jobs.c.id, job_files.c.role == role)
        .scalar_subquery()
    )


def _fitting(weights: Sequence[_Weight], wanted: JobFilter) -> list[_Weight]:
    """Return the first jobs that together are not too much for a page: at least one."""
    room_bytes = PAGE_BYTES if wanted.fields is None else WHOLE_PAGE_BYTES
    chosen: list[_Weight] = []
    for one in weights:
        room_bytes -= one.kept_bytes(wanted)
        if chosen and room_bytes < 0:
            break
        chosen.append(one)
    return chosen


def _page_of(wanted: JobFilter, every: Any) -> Any:
    """Return the statement for a page, and one job more.

    Of one processor, the index gives the newest of each state: take those.
    """
    newest, limit = jobs.c.id.desc(), wanted.limit + 1
    if wanted.processor is None:
        return every.where(*_conditions(wanted, wanted.state)).order_by(newest).limit(limit)
    states = [wanted.state] if wanted.state else list(State)
    slices = [
        select(Job.id)
        .where(col(Job.processor) == wanted.processor, *_conditions(wanted, state))
        .order_by(newest)
        .limit(limit)
        .subquery()
        for state in states
    ]
    ids = union_all(*(select(one.c.id) for one in slices)).subquery()
    return every.where(jobs.c.id.in_(select(ids.c.id))).order_by(newest).limit(limit)


def _conditions(wanted: JobFilter, state: State | None) -> list[Any]:
    bounds: list[Any] = [
        (state and in_state(state)),
        (wanted.created_after and jobs.c.id >= first_id_at(wanted.created_after)),
        (wanted.created_before and jobs.c.id < first_id_at(wanted.created_before)),
        (wanted.before_id and jobs.c.id < wanted.before_id),
    ]
    return [bound for bound in bounds if bound is not None]


# ---- the jobs and their files, as far as they are shown


async def _rows_of(session: AsyncSession, wanted: JobFilter, chosen: Sequence[_Weight]) -> dict[str, Job]:
    rows = await session.exec(_rows(wanted.heavy), params={"ids": [one.id for one in chosen]})
    found = (_job(_names(wanted), row) for row in rows)
    return {job.id: job for job in found}


def _job(names: Sequence[str], row: Sequence[Any]) -> Job:
    return as_loaded(Job, **{"params": {}, "metadata_": {}, **dict(zip(names, row, strict=True))})


@lru_cache
def _rows(heavy: frozenset[str] | None) -> Any:
    """Return the statement that gives jobs by their ids."""
    return select(*_columns(JobFilter(fields=heavy))).where(jobs.c.id.in_(bindparam("ids", expanding=True)))


def _names(wanted: JobFilter) -> list[str]:
    """Return what the columns are called in Python."""
    return ["metadata_" if one.name == "metadata" else one.name for one in jobs.c if _is_read(one.name, wanted)]


def _columns(wanted: JobFilter) -> list[ColumnElement[Any]]:
    return [_shown(column, wanted) for column in jobs.c if _is_read(column.name, wanted)]


def _is_read(column: str, wanted: JobFilter) -> bool:
    return column not in _HEAVY or wanted.wants(column)


def _shown(column: ColumnElement[Any], wanted: JobFilter) -> ColumnElement[Any]:
    """Return what a list gives of a column; what is always an object stays one."""
    if column.name == "error":
        return _short_error()
    if column.name not in LEAVABLE or wanted.fields is not None:
        return column
    instead = null() if column.name == "result" else literal_column("'{}'")
    return type_coerce(case((_bytes_of(column) > LARGE_BYTES, instead), else_=column), Json())


def _short_error() -> ColumnElement[Any]:
    """Return the error; of a large one only code and message, without the traceback."""
    message = func.substr(func.json_extract(jobs.c.error, "$.message"), 1, _MESSAGE_CHARS)
    short = func.json_object("code", func.json_extract(jobs.c.error, "$.code"), "message", message)
    return type_coerce(case((_bytes_of(jobs.c.error) > LARGE_BYTES, short), else_=jobs.c.error), Json())


@dataclass(frozen=True, slots=True)
class _Shown:
    """The files of a page: by role and job, and of which jobs a name was cut."""

    files: dict[str, dict[str, list[File]]]
    cut: dict[str, set[str]]


async def _first_files(session: AsyncSession, wanted: JobFilter, chosen: Sequence[_Weight]) -> _Shown:
    shown = _Shown({"input": {}, "output": {}}, {})
    asked = {
        "roles": [role for role in _ROLES if wanted.wants(f"{role}s")],
        "ids": [one.id for one in chosen if one.input_count or one.output_count],
    }
    rows = await session.exec(_files_of_page(), params=asked) if asked["ids"] else ()
    for job_id, role, name, *facts in rows:
        if len(name) > MOST_NAME_CHARS:
            shown.cut.setdefault(job_id, set()).add(f"{role}s")
        file = as_loaded(File, **dict(zip(_FILE_FACTS, facts, strict=True)), name=name[:MOST_NAME_CHARS])
        shown.files[role].setdefault(job_id, []).append(file)
    return shown


_FILE_FACTS = ("id", "media_type", "size_bytes", "sha256", "created_at")


@cache
def _files_of_page() -> Any:
    """Return the statement that gives the first files of jobs."""
    return (
        select(
            job_files.c.job_id,
            job_files.c.role,
            func.substr(files.c.name, 1, MOST_NAME_CHARS + 1),
            *(files.c[name] for name in _FILE_FACTS),
        )
        .join(files, files.c.id == job_files.c.file_id)
        .where(
            job_files.c.job_id.in_(bindparam("ids", expanding=True)),
            job_files.c.role.in_(bindparam("roles", expanding=True)),
            job_files.c.position < MOST_FILES,
        )
        .order_by(job_files.c.job_id, job_files.c.role, job_files.c.position)
    )
