"""The tables as SQLAlchemy's core sees them, for the statements that write many rows at once."""

from typing import cast

from sqlalchemy import ColumnElement, Table, literal_column, or_

from service.states import State
from service.store.models import Event, File, IdempotencyKey, Job, JobFile

jobs = cast("Table", Job.__table__)  # type: ignore[attr-defined]
files = cast("Table", File.__table__)  # type: ignore[attr-defined]
job_files = cast("Table", JobFile.__table__)  # type: ignore[attr-defined]
events = cast("Table", Event.__table__)  # type: ignore[attr-defined]
keys = cast("Table", IdempotencyKey.__table__)  # type: ignore[attr-defined]


def in_state(*states: State) -> ColumnElement[bool]:
    """Return the condition that a job is in one of the states.

    The names are written into the statement: SQLite takes a partial index only when it sees its condition.
    """
    return or_(*(jobs.c.state == literal_column(f"'{state.value}'") for state in sorted(states)))
