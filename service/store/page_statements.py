"""The statements that read a page of jobs, each put together once: that takes longer than to run it.

`fields` are the wanted ones of `HEAVY`, or None for all, without what is large.
"""

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

from service.sizes import KIB
from service.states import State
from service.store.models import Job, Json
from service.store.tables import files, in_state, job_files, jobs

LARGE_BYTES = 4 * KIB  # of one field's JSON; what is longer is left out of a list
MOST_FILES, MOST_NAME_CHARS = 20, 256  # of the inputs of a job, and of its outputs
LEAVABLE = ("params", "metadata", "result")
HEAVY = frozenset({*LEAVABLE, "error", "inputs", "outputs"})
ROLES = ("input", "output")
FILE_FACTS = ("id", "media_type", "size_bytes", "sha256", "created_at")
_MESSAGE_CHARS = 2000

Fields = frozenset[str] | None


def wants(fields: Fields, name: str) -> bool:
    """Whether the field is to be read at all."""
    return fields is None or name in fields


@lru_cache(maxsize=512)
def page_statement(fields: Fields, state: State | None, shape: frozenset[str], *, with_rows: bool) -> Any:
    """Return the statement for pages of one kind.

    Of one processor, the index gives the newest of each state: take those.
    """
    most: Any = bindparam("most")
    every, newest = _weights(fields, with_rows=with_rows), jobs.c.id.desc()
    if "processor" not in shape:
        return every.where(*_conditions(state, shape)).order_by(newest).limit(most)
    slices = [
        select(Job.id)
        .where(col(Job.processor) == bindparam("processor"), *_conditions(one, shape))
        .order_by(newest)
        .limit(most)
        .subquery()
        for one in ([state] if state else list(State))
    ]
    ids = union_all(*(select(one.c.id) for one in slices)).subquery()
    return every.where(jobs.c.id.in_(select(ids.c.id))).order_by(newest).limit(most)


def _conditions(state: State | None, shape: frozenset[str]) -> list[Any]:
    bounds: dict[str, Any] = {
        "created_after": jobs.c.id >= bindparam("created_after"),
        "created_before": jobs.c.id < bindparam("created_before"),
        "before_id": jobs.c.id < bindparam("before_id"),
    }
    return [*([in_state(state)] if state else []), *(bound for name, bound in bounds.items() if name in shape)]


def _weights(fields: Fields, *, with_rows: bool) -> Any:
    """Return the statement that weighs all jobs."""
    counts = [_count_files(role) if wants(fields, f"{role}s") else literal(0) for role in ROLES]
    sizes = [func.coalesce(_bytes_of(jobs.c[name]), 0) for name in texts(fields)]
    return select(jobs.c.id, *counts, *sizes, *(_columns(fields) if with_rows else ()))


def texts(fields: Fields) -> list[str]:
    """Return the names of the columns that are weighed."""
    return [name for name in (*LEAVABLE, "error") if wants(fields, name)] + ["progress_message"]


def _bytes_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the expression for the bytes of a text: `length` of a text counts characters."""
    return func.length(cast(column, BLOB))


def _count_files(role: str) -> ColumnElement[Any]:
    return (
        select(func.count(job_files.c.file_id))
        .where(job_files.c.job_id == jobs.c.id, job_files.c.role == role)
        .scalar_subquery()
    )


# ---- the jobs and their files, as far as they are shown


@lru_cache
def rows_statement(fields: Fields) -> Any:
    """Return the statement that gives jobs by their ids."""
    return select(*_columns(fields)).where(jobs.c.id.in_(bindparam("ids", expanding=True)))


def names_of(fields: Fields) -> list[str]:
    """Return what the columns are called in Python."""
    return ["metadata_" if one.name == "metadata" else one.name for one in jobs.c if _is_read(one.name, fields)]


def _columns(fields: Fields) -> list[ColumnElement[Any]]:
    return [_shown(column, fields) for column in jobs.c if _is_read(column.name, fields)]


def _is_read(column: str, fields: Fields) -> bool:
    return column not in HEAVY or wants(fields, column)


def _shown(column: ColumnElement[Any], fields: Fields) -> ColumnElement[Any]:
    """Return what a list gives of a column; what is always an object stays one."""
    if column.name == "error":
        return _short_error()
    if column.name not in LEAVABLE or fields is not None:
        return column
    instead = null() if column.name == "result" else literal_column("'{}'")
    return type_coerce(case((_bytes_of(column) > LARGE_BYTES, instead), else_=column), Json())


def _short_error() -> ColumnElement[Any]:
    """Return the error; of a large one only code and message, without the traceback."""
    message = func.substr(func.json_extract(jobs.c.error, "$.message"), 1, _MESSAGE_CHARS)
    short = func.json_object("code", func.json_extract(jobs.c.error, "$.code"), "message", message)
    return type_coerce(case((_bytes_of(jobs.c.error) > LARGE_BYTES, short), else_=jobs.c.error), Json())


@cache
def files_statement() -> Any:
    """Return the statement that gives the first files of jobs."""
    return (
        select(
            job_files.c.job_id,
            job_files.c.role,
            func.substr(files.c.name, 1, MOST_NAME_CHARS + 1),
            *(files.c[name] for name in FILE_FACTS),
        )
        .join(files, files.c.id == job_files.c.file_id)
        .where(
            job_files.c.job_id.in_(bindparam("ids", expanding=True)),
            job_files.c.role.in_(bindparam("roles", expanding=True)),
            job_files.c.position < MOST_FILES,
        )
        .order_by(job_files.c.job_id, job_files.c.role, job_files.c.position)
    )
