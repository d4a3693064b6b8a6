"""The statements by which a user or the house-keeping changes jobs: cancel, retry, delete, rescue, stage.

They are run by the writer, one item after the other: none of them is hot.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, delete, exists, select, text, update

from service.states import DELETABLE, TRANSITIONS, Move, State
from service.store.additions import add_events
from service.store.events import state_event
from service.store.prepared import Prepared
from service.store.tables import files, in_state, job_files, jobs


@dataclass(frozen=True, slots=True)
class Order:
    """A user's wish to move one job."""

    job_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Deletion:
    """Finished or queued jobs to be deleted; the files that are nobody's after that go with them.

    With `finished_before`, only those that finished before this moment. Files that were stored for themselves stay;
    if nobody uses them now, their age counts from `at`, or without it from when they were stored.
    """

    job_ids: tuple[str, ...]
    finished_before: datetime | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unused:
    """Up to `limit` files that were stored for themselves, and that no job has had since before this moment."""

    before: datetime
    limit: int


@dataclass(frozen=True, slots=True)
class Rescue:
    """Running jobs that `worker_id` does not run are to be taken from whoever had them.

    One that was lost `max_losses` times in a row is failed; any other waits `delay_s(losses)` seconds.
    """

    worker_id: str
    at: datetime
    limit: int
    max_losses: int
    delay_s: Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Release:
    """Whatever `worker_id` still has is to be put back: it stops, and runs nothing any more."""

    worker_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Staging:
    """Jobs whose moment has come are to be made ready.

    Those with `one_from` losses or more have one chance left, and get it one at a time: if the worker dies again, it
    costs one of them, and not one that only ran beside another which kills it. Of these, only the jobs of
    `processors` have a turn: one that nobody runs would keep it for ever.
    """

    at: datetime
    limit: int
    one_from: int | None = None
    processors: tuple[str, ...] = ()


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
        "error": None, "progress_fraction": 0.0, "progress_message": "", "losses": 0,
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
    """Queue what dead workers ran, without counting the attempt, or fail what they died under too often.

    Return how many jobs that were.
    """
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


def delete_unused(connection: Connection, items: Sequence[Unused]) -> Sequence[list[str]]:
    """Delete files that nobody has used for long; return their ids."""
    return [_delete_unused(connection, item) for item in items]


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
    strays = connection.execute(
        select(jobs.c.id, jobs.c.attempt, jobs.c.losses)
        .where(in_state(State.RUNNING), jobs.c.worker_id != item.worker_id)
        .limit(item.limit)
    ).all()
    _put_back(connection, item, [row for row in strays if row.losses + 1 < item.max_losses])
    for row in strays:
        if row.losses + 1 >= item.max_losses:
            _give_up(connection, item, row)
    return len(strays)


_RESCUE = Prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("job"), in_state(*TRANSITIONS[Move.RESCUE].sources))
    .values(
        state=TRANSITIONS[Move.RESCUE].target.value,
        worker_id=None,
        attempt=jobs.c.attempt - 1,
        losses=jobs.c.losses + 1,
        scheduled=bindparam("later"),
        run_after=bindparam("after"),
    )
)


def _put_back(connection: Connection, item: Rescue, rows: Sequence[Any]) -> None:
    """Queue jobs once more: each at its own moment, and on its last chance only when it is its turn."""
    changes: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for job_id, attempt, lost in rows:
        losses = lost + 1
        after = item.at + timedelta(seconds=item.delay_s(losses))
        later = after > item.at or losses + 1 >= item.max_losses
        changes.append({"job": job_id, "later": later, "after": after})
        facts = {"losses": losses, **({"run_after": after.isoformat()} if after > item.at else {})}
        events.append(state_event(job_id, attempt, Move.RESCUE, item.at, facts))
    _RESCUE.run(connection, changes)
    add_events(connection, events)


def _give_up(connection: Connection, item: Rescue, row: Any) -> None:
    losses = row.losses + 1
    often = "once" if losses == 1 else f"{losses} times in a row"
    lost = {
        "code": "worker_lost",
        "message": f"the server died {often} while it ran this job, so the job may be the cause; retry it to try again",
    }
    over = {"worker_id": None, "finished_at": item.at, "error": lost, "losses": losses}
    _move(connection, Move.GIVE_UP, item, over, jobs.c.id == row.id)


def _stage(connection: Connection, item: Staging) -> int:
    due = (
        select(jobs.c.id)
        .where(in_state(State.QUEUED), jobs.c.scheduled, jobs.c.run_after <= item.at)
        .order_by(jobs.c.run_after)
        .limit(item.limit)
    )
    if item.one_from is None:
        return _make_ready(connection, due)
    staged = _make_ready(connection, due.where(jobs.c.losses < item.one_from))
    return staged + _give_turn(connection, item, item.one_from)


def _make_ready(connection: Connection, which: Any) -> int:
    staged = connection.execute(update(jobs).where(jobs.c.id.in_(which)).values(scheduled=False))
    return staged.rowcount


def _give_turn(connection: Connection, item: Staging, one_from: int) -> int:
    """Make the job whose turn it is ready."""
    turn = turn_of(connection.execute(last_chances(one_from)), item)
    return 0 if turn is None else _make_ready(connection, [turn])


def last_chances(one_from: int) -> Any:
    """Return the statement that gives the jobs on their last chance which have not ended."""
    return select(jobs.c.id, jobs.c.state, jobs.c.scheduled, jobs.c.run_after, jobs.c.processor).where(
        # the first condition is that of the index, which is so small that all else may be left to Python
        text("losses > 0"),
        jobs.c.losses >= one_from,
        in_state(State.QUEUED, State.RUNNING),
    )


def turn_of(found: Iterable[Any], item: Staging) -> str | None:
    """Return the longest due of the jobs on their last chance, unless another one is ready or runs."""
    rows = [row for row in found if row.processor in item.processors]
    due = [row for row in rows if row.scheduled and row.run_after <= item.at]
    if not due or any(row.state == State.RUNNING or not row.scheduled for row in rows):
        return None
    return str(min(due, key=lambda row: row.run_after).id)


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
    nobodys = [files.c.id.in_(file_ids), ~exists().where(job_files.c.file_id == files.c.id)]
    orphans = connection.execute(delete(files).where(*nobodys, ~files.c.kept).returning(files.c.id))
    gone = list(orphans.scalars())
    connection.execute(update(files).where(*nobodys, files.c.kept).values(last_used_at=item.at or files.c.created_at))
    return len(job_ids), gone


def _delete_unused(connection: Connection, item: Unused) -> list[str]:
    """Delete them in one statement: a job that names one at this moment was added before, or cannot be added."""
    oldest = (
        select(files.c.id)
        .where(files.c.last_used_at < item.before, ~exists().where(job_files.c.file_id == files.c.id))
        .order_by(files.c.last_used_at)
        .limit(item.limit)
    )
    gone = connection.execute(delete(files).where(files.c.id.in_(oldest)).returning(files.c.id))
    return list(gone.scalars())


def _delete_file(connection: Connection, file_id: str) -> bool:
    needed = (
        select(job_files.c.file_id)
        .join_from(job_files, jobs, jobs.c.id == job_files.c.job_id)
        .where(job_files.c.file_id == file_id, in_state(State.QUEUED, State.RUNNING))
    )
    gone = connection.execute(delete(files).where(files.c.id == file_id, files.c.id.not_in(needed)))
    return gone.rowcount == 1
