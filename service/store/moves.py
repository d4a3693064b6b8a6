"""The statements by which a worker moves jobs: claim, advance, settle, each written for many items at once.

They are run by the writer. Each is one conditional UPDATE whose condition comes from `TRANSITIONS`: the database
decides every race, and whoever matched no row has lost.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Float, Text, and_, bindparam, func, literal_column, select, update

from service.states import TRANSITIONS, Move, State
from service.store.additions import add_events, add_files, add_links, file_links
from service.store.events import MOST_CHARS, state_event
from service.store.prepared import Prepared
from service.store.records import Advance, Claim, ClaimedJob, NewFile, Settlement
from service.store.tables import files, in_state, job_files, jobs
from service.store.writer import AloneError

_FENCE = and_(
    jobs.c.id == bindparam("job"),
    in_state(State.RUNNING),
    jobs.c.worker_id == bindparam("worker"),
    jobs.c.attempt == bindparam("fence"),
    jobs.c.started_at.is_not_distinct_from(
        func.coalesce(bindparam("begun", type_=jobs.c.started_at.type), jobs.c.started_at)
    ),
)


# ---- claim


def claim_jobs(connection: Connection, items: Sequence[Claim]) -> Sequence[ClaimedJob | None]:
    """Give each job to the one who claims it, unless it is no longer ready; the attempt is counted here."""
    won = _CLAIM.fetch(connection, [{"job": item.job_id, "worker": item.worker_id, "now": item.at} for item in items])
    inputs = _inputs_of(connection, [row[0] for row in won])
    claimed = {row[0]: _claimed(row, inputs.get(row[0], ())) for row in won}
    add_events(connection, [state_event(job.id, job.attempt, Move.CLAIM, job.started_at) for job in claimed.values()])
    # of two claims on one job in one batch, the first has won: pop
    return [claimed.pop(item.job_id, None) for item in items]


_CLAIM = Prepared(
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"),
        in_state(*TRANSITIONS[Move.CLAIM].sources),
        ~jobs.c.scheduled,
    )
    .values(
        state=TRANSITIONS[Move.CLAIM].target.value,
        attempt=jobs.c.attempt + 1,
        worker_id=bindparam("worker"),
        started_at=bindparam("now"),
        progress_fraction=0.0,
        progress_message="",
    )
    .returning(
        jobs.c.id, jobs.c.processor, jobs.c.params, jobs.c.metadata, jobs.c.rank, jobs.c.attempt,
        jobs.c.max_attempts, jobs.c.timeout_s, jobs.c.run_after, jobs.c.started_at,
    )
)  # fmt: skip

_INPUTS = Prepared(
    select(
        job_files.c.job_id, files.c.id, files.c.name, files.c.media_type, files.c.size_bytes, files.c.sha256,
        files.c.created_at,
    )
    .join_from(job_files, files, files.c.id == job_files.c.file_id)
    .where(job_files.c.job_id == bindparam("job"), job_files.c.role == literal_column("'input'"))
    .order_by(job_files.c.position)
)  # fmt: skip


def _inputs_of(connection: Connection, job_ids: list[str]) -> dict[str, tuple[NewFile, ...]]:
    found: dict[str, tuple[NewFile, ...]] = {}
    for job_id, *file in _INPUTS.fetch(connection, [{"job": job_id} for job_id in job_ids]):
        found[job_id] = (*found.get(job_id, ()), NewFile(*file))
    return found


def _claimed(row: Any, inputs: tuple[NewFile, ...]) -> ClaimedJob:
    job_id, processor, params, metadata, rank, attempt, max_attempts, timeout_s, run_after, started_at = row
    return ClaimedJob(
        job_id, processor, params, metadata, -rank, attempt, max_attempts, timeout_s, run_after, started_at, inputs
    )


# ---- advance and settle


def advance_jobs(connection: Connection, items: Sequence[Advance]) -> Sequence[bool]:
    """Record progress and log lines; False for an attempt that no longer holds its job."""
    moved = _ADVANCE.run(connection, [_advance_row(item) for item in items])
    if not _all_won(moved, items):
        return [False]
    add_events(connection, [row for item in items for row in item.events])
    return [True] * len(items)


def settle_jobs(connection: Connection, items: Sequence[Settlement]) -> Sequence[bool]:
    """Record what attempts came to, with their outputs; False for one that no longer holds its job."""
    settled = _SETTLE.run(connection, [_settle_row(item) for item in items])
    if not _all_won(settled, items):
        return [False]
    add_files(connection, [output for item in items for output in item.outputs])
    outputs = [link for i in items for link in file_links(i.job_id, "output", [file.id for file in i.outputs])]
    add_links(connection, outputs)
    add_events(connection, [_settle_event(item) for item in items])
    return [True] * len(items)


_ADVANCE = Prepared(
    update(jobs)
    .where(_FENCE)
    .values(
        progress_fraction=func.coalesce(bindparam("fraction", type_=Float()), jobs.c.progress_fraction),
        progress_message=func.coalesce(bindparam("message", type_=Text()), jobs.c.progress_message),
    )
)

_SETTLE = Prepared(
    update(jobs)
    .where(_FENCE)
    .values(
        state=bindparam("to"),
        scheduled=bindparam("later"),
        # what is not bound anew stays as it is
        run_after=func.coalesce(bindparam("after", type_=jobs.c.run_after.type), jobs.c.run_after),
        attempt=jobs.c.attempt - bindparam("uncounted"),
        losses=jobs.c.losses * bindparam("still_lost"),
        worker_id=None,
        finished_at=bindparam("finished"),
        result=bindparam("outcome", type_=jobs.c.result.type),
        error=bindparam("trouble", type_=jobs.c.error.type),
        progress_fraction=func.coalesce(bindparam("fraction", type_=Float()), jobs.c.progress_fraction),
    )
)


def _all_won(matched: int, items: Sequence[Any]) -> bool:
    """Whether every item matched its row. If not, and there are several, each is asked alone."""
    if matched == len(items):
        return True
    if len(items) > 1:
        raise AloneError("one of several matched no row")
    return False


def _advance_row(item: Advance) -> dict[str, Any]:
    return {
        "job": item.job_id, "worker": item.worker_id, "fence": item.attempt, "begun": item.started_at,
        "fraction": item.fraction, "message": item.message,
    }  # fmt: skip


def _settle_row(item: Settlement) -> dict[str, Any]:
    target = TRANSITIONS[item.move].target
    queued = target is State.QUEUED
    return {
        "job": item.job_id, "worker": item.worker_id, "fence": item.attempt, "begun": item.started_at,
        "to": target.value,
        "later": queued and item.run_after is not None and item.run_after > item.at,
        "after": item.run_after,
        "uncounted": int(item.move in {Move.SNOOZE, Move.RELEASE}),
        # it ended by itself: this job does not kill its worker
        "still_lost": int(item.move not in {Move.SNOOZE, Move.BACK_OFF}),
        "finished": None if queued else item.at,
        "outcome": item.result, "trouble": item.error,
        "fraction": 1.0 if target is State.SUCCEEDED else None,
    }  # fmt: skip


def _settle_event(item: Settlement) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if item.error:
        # what a child sent may be longer than what the server itself says
        facts["error"] = {name: str(item.error[name])[:MOST_CHARS] for name in ("code", "message")}
    if item.run_after:
        facts["run_after"] = item.run_after.isoformat()
    return state_event(item.job_id, item.attempt, item.move, item.at, facts)
