"""The statements that add rows: jobs, files, events and idempotency keys, many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, insert, update

from service.states import TRANSITIONS, Move
from service.store.events import state_event
from service.store.prepared import Prepared
from service.store.records import FirstAnswer, NewFile, NewJob
from service.store.tables import events, files, job_files, jobs, keys

_NEW_JOB = TypeAdapter(NewJob)
_NEW_FILE = TypeAdapter(NewFile)
_ADD_JOBS = Prepared(insert(jobs))
_ADD_FILES = Prepared(insert(files))
_ADD_LINKS = Prepared(insert(job_files))
_USE_FILES = Prepared(update(files).where(files.c.id == bindparam("used_id")).values(last_used_at=None))
_ADD_EVENTS = Prepared(insert(events))


def add_jobs(connection: Connection, items: Sequence[NewJob]) -> Sequence[None]:
    """Add jobs with their files, their first events and their idempotency keys.

    Raises:
        IntegrityError: an idempotency key is taken, or a stored file is gone.
    """
    if answers := [
        _key_row(
            new.first_answer,
            created_at=new.created_at,
            answer={"job": _NEW_JOB.dump_python(new, mode="json")},
        )
        for new in items
        if new.first_answer
    ]:
        connection.execute(insert(keys), answers)
    _ADD_JOBS.run(connection, [job_row(new) for new in items])
    add_files(connection, [upload for new in items for upload in new.uploads])
    _USE_FILES.run(connection, [{"used_id": stored.id} for new in items for stored in new.stored])
    add_links(connection, [link for new in items for link in file_links(new.id, "input", _input_ids(new))])
    add_events(connection, [state_event(new.id, 0, Move.SUBMIT, new.created_at) for new in items])
    return [None] * len(items)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file uploaded for itself."""

    file: NewFile
    first_answer: FirstAnswer | None = None


def keep_files(connection: Connection, items: Sequence[KeptFile]) -> Sequence[None]:
    """Add files that live until they are deleted, with their idempotency keys."""
    if answers := [
        _key_row(
            item.first_answer,
            created_at=item.file.created_at,
            answer={"file": _NEW_FILE.dump_python(item.file, mode="json")},
        )
        for item in items
        if item.first_answer
    ]:
        connection.execute(insert(keys), answers)
    add_files(connection, [item.file for item in items], kept=True)
    return [None] * len(items)


def add_files(connection: Connection, new: Sequence[NewFile], *, kept: bool = False) -> None:
    """Add the rows of stored files."""
    _ADD_FILES.run(connection, [file_row(file, kept=kept) for file in new])


def add_links(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Give files to jobs."""
    _ADD_LINKS.run(connection, rows)


def add_events(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to the events table."""
    _ADD_EVENTS.run(connection, rows)


def job_row(new: NewJob) -> dict[str, Any]:
    """Return the row of a new job."""
    return {
        "id": new.id, "processor": new.processor, "params": new.params, "metadata": new.metadata,
        "state": TRANSITIONS[Move.SUBMIT].target.value, "rank": -new.priority,
        "scheduled": new.run_after > new.created_at, "attempt": 0, "max_attempts": new.max_attempts,
        "timeout_s": new.timeout_s, "created_at": new.created_at, "run_after": new.run_after,
        "progress_fraction": 0.0, "progress_message": "", "losses": 0,
    }  # fmt: skip


def _key_row(first: FirstAnswer, **rest: Any) -> dict[str, Any]:
    return {"key": first.key, "fingerprint": first.fingerprint, **rest}


def file_row(file: NewFile, *, kept: bool) -> dict[str, Any]:
    """Return the row of a stored file."""
    return {
        "id": file.id, "name": file.name, "media_type": file.media_type, "size_bytes": file.size_bytes,
        "sha256": file.sha256, "kept": kept, "created_at": file.created_at,
        "last_used_at": file.created_at if kept else None,
    }  # fmt: skip


def _input_ids(new: NewJob) -> list[str]:
    return [file.id for file in (*new.uploads, *new.stored)]


def file_links(job_id: str, role: str, file_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows that give files to a job, in this order."""
    return [
        {"job_id": job_id, "role": role, "position": position, "file_id": file_id}
        for position, file_id in enumerate(file_ids)
    ]
