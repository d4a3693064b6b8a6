"""Rows of the events table: what happened to a job, in order."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.states import TRANSITIONS, Move


def state_event(
    job_id: str, attempt: int, move: Move, at: datetime, facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the row that records a change of state: where to, and why."""
    data = {"state": TRANSITIONS[move].target.value, "reason": move.value, **(facts or {})}
    return {"job_id": job_id, "at": at, "kind": "state", "attempt": attempt, "data": data}


def progress_event(job_id: str, attempt: int, at: datetime, fraction: float, message: str) -> dict[str, Any]:
    """Return the row that records how far a job is."""
    data = {"fraction": fraction, "message": message}
    return {"job_id": job_id, "at": at, "kind": "progress", "attempt": attempt, "data": data}


def log_event(job_id: str, attempt: int, at: datetime, message: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row that records a line of a job's log."""
    data = {"message": message, "fields": dict(fields)}
    return {"job_id": job_id, "at": at, "kind": "log", "attempt": attempt, "data": data}
