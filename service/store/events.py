"""Rows of the events table: what happened to a job, in order."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.states import TRANSITIONS, Move
from service.store.models import JsonText, to_json

MOST_CHARS = 4000  # of each text in an event


def state_event(
    job_id: str, attempt: int, move: Move, at: datetime, facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the row that records a change of state: where to, and why."""
    data = _PLAIN[move] if not facts else _change(move) | facts
    return {"job_id": job_id, "at": at, "kind": "state", "attempt": attempt, "data": data}


def _change(move: Move) -> dict[str, Any]:
    return {"state": TRANSITIONS[move].target.value, "reason": move.value}


# most events say no more than this: it is not encoded again for each
_PLAIN = {move: JsonText(to_json(_change(move))) for move in TRANSITIONS}


def progress_event(job_id: str, attempt: int, at: datetime, fraction: float, message: str) -> dict[str, Any]:
    """Return the row that records how far a job is."""
    data = {"fraction": fraction, "message": message[:MOST_CHARS]}
    return {"job_id": job_id, "at": at, "kind": "progress", "attempt": attempt, "data": data}


def log_event(job_id: str, attempt: int, at: datetime, message: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row that records a line of a job's log."""
    data = {"message": message[:MOST_CHARS], "fields": dict(fields)}
    return {"job_id": job_id, "at": at, "kind": "log", "attempt": attempt, "data": data}
