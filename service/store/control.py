"""The statements by which a user or the house-keeping changes jobs: cancel, retry, delete, rescue, stage.

They are run by the writer, one item after the other: none of them is hot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, exists, select, update

from service.states import DELETABLE, TRANSITIONS, Move, State
from service.store.additions import add_events
from service.store.events import state_event
from service.store.tables import files, in_state, job_files, jobs


@dataclass(frozen=True, slots=True)
class Order:
    """A user's wish to move one job."""

    job_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Deletion:
    """Finished or queued jobs to be deleted; the files that are nobody's after that go with them.

    With `finished_before`, only those that finished before this moment.
    """

    job_ids: tuple[str, ...]
    finished_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rescue:
    """Running jobs that `worker_id` does not run are to be taken from whoever had them."""

    worker_id: str
    at: datetime
    limit: int


@dataclass(frozen=True, slots=True)
class Release:
    """Whatever `worker_id` still has is to be put back: it stops, and runs nothing any more."""

    worker_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Staging:
    """Jobs whose moment has come are to be made ready."""

    at: datetime
    limit: int


def cancel_jobs(connection: Connection, items: Sequence[Order]) -> Sequence[bool]:
    """Cancel jobs that wait or run; False for a job that does neither. A running attempt loses its fence."""
    changes = {"worker_id": None, "error": {"code": "cancelled", "message": "the job was cancelled"}}
    return [
        _move(connection, Move.CANCEL, item, {**changes, "finished_at": item.at}, jobs.c.id == item.job_id) == 1
        for item in items
    ]


def retry_jobs(connection: Connection, items: Sequence[Order]) -> Sequence[bool]:
    """Queue failed and cancelled jobs once more, with one attempt at least.

    False for a job in another state, and for one that has lost an input.

    The count of attempts goes on, so that an attempt that was cancelled can never settle the new one.
    """
    changes = {
        "scheduled": False, "worker_id": None, "finished_at": None, "started_at": None, "result": None,
        "error": None, "progress_fraction": 0.0, "progress_message": "",
        "max_attempts": case((jobs.c.attempt < jobs.c.max_attempts, jobs.c.max_attempts), else_=jobs.c.attempt + 1),
    }  # fmt: skip
    lost_an_input = exists().where(
        job_files.c.job_id == jobs.c.id, job_files.c.role == "input", job_files.c.file_id.is_(None)
    )
    return [
        _move(connection, Move.RETRY, item, {**changes, "run_after": item.at}, jobs.c.id == item.job_id, ~lost_an_input)
        == 1
        for item in items
    ]


def rescue_jobs(connection: Connection, items: Sequence[Rescue]) -> Sequence[int]:
    """Queue what dead workers ran, or fail it where no attempt is left; return how many jobs that were."""
    return [_rescue(connection, item) for item in items]


def release_jobs(connection: Connection, items: Sequence[Release]) -> Sequence[int]:
    """Queue what a worker that stops has left, without counting the attempt; return how many jobs that were."""
    uncounted = {"worker_id": None, "scheduled": False, "attempt": jobs.c.attempt - 1}
    return [_move(connection, Move.RELEASE, item, uncounted, jobs.c.worker_id == item.worker_id) for item in items]


def stage_jobs(connection: Connection, items: Sequence[Staging]) -> Sequence[int]:
    """Make up to `limit` jobs ready whose moment has come, the longest due first; return how many."""
    return [_stage(connection, item) for item in items]


def delete_jobs(connection: Connection, items: Sequence[Deletion]) -> Sequence[tuple[int, list[str]]]:
    """Delete jobs that do not run; return how many, and the ids of the files that went with them."""
    return [_delete(connection, item) for item in items]


def delete_files(connection: Connection, items: Sequence[str]) -> Sequence[bool]:
    """Delete files by id; False for one that an unfinished job needs, or that is not there."""
    return [_delete_file(connection, file_id) for file_id in items]


def _move(connection: Connection, move: Move, item: Any, changes: dict[str, Any], *which: ColumnElement[bool]) -> int:
    """Make one move with the jobs of `which` whose state allows it, and record it; return how many."""
    sources, target = TRANSITIONS[move]
    moved = connection.execute(
        update(jobs)
        .where(in_state(*sources), *which)
        .values(state=target.value, **changes)
        .returning(jobs.c.id, jobs.c.attempt)
    )
    rows = list(moved)
    facts = {"error": changes["error"]} if changes.get("error") else {}
    # the attempt that a release takes back is the one that it is about
    taken_back = int(move is Move.RELEASE)
    add_events(connection, [state_event(row.id, row.attempt + taken_back, move, item.at, facts) for row in rows])
    return len(rows)


def _rescue(connection: Connection, item: Rescue) -> int:
    strays = (
        select(jobs.c.id)
        .where(in_state(State.RUNNING), jobs.c.worker_id != item.worker_id)
        .limit(item.limit)
        .scalar_subquery()
    )
    again = {"worker_id": None, "scheduled": False, "run_after": item.at}
    lost = {"code": "worker_lost", "message": "the server stopped in the middle of the last attempt"}
    left = jobs.c.attempt < jobs.c.max_attempts
    rescued = _move(connection, Move.RESCUE, item, again, jobs.c.id.in_(strays), left)
    over = {"worker_id": None, "finished_at": item.at, "error": lost}
    return rescued + _move(connection, Move.GIVE_UP, item, over, jobs.c.id.in_(strays), ~left)


def _stage(connection: Connection, item: Staging) -> int:
    due = (
        select(jobs.c.id)
        .where(in_state(State.QUEUED), jobs.c.scheduled, jobs.c.run_after <= item.at)
        .order_by(jobs.c.run_after)
        .limit(item.limit)
    )
    staged = connection.execute(update(jobs).where(jobs.c.id.in_(due)).values(scheduled=False))
    return staged.rowcount


def _delete(connection: Connection, item: Deletion) -> tuple[int, list[str]]:
    which = [jobs.c.id.in_(item.job_ids), in_state(*DELETABLE)]
    if item.finished_before is not None:
        which.append(jobs.c.finished_at < item.finished_before)
    doomed = connection.execute(select(jobs.c.id).where(*which))
    job_ids = list(doomed.scalars())
    # an input that was deleted has left its place empty
    links = select(job_files.c.file_id).where(job_files.c.job_id.in_(job_ids), job_files.c.file_id.is_not(None))
    linked = connection.execute(links)
    file_ids = sorted(set(linked.scalars()))
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))
    orphans = connection.execute(
        delete(files)
        .where(files.c.id.in_(file_ids), ~files.c.kept, ~exists().where(job_files.c.file_id == files.c.id))
        .returning(files.c.id)
    )
    return len(job_ids), list(orphans.scalars())


def _delete_file(connection: Connection, file_id: str) -> bool:
    needed = (
        select(job_files.c.file_id)
        .join_from(job_files, jobs, jobs.c.id == job_files.c.job_id)
        .where(job_files.c.file_id == file_id, in_state(State.QUEUED, State.RUNNING))
    )
    gone = connection.execute(delete(files).where(files.c.id == file_id, files.c.id.not_in(needed)))
    return gone.rowcount == 1
