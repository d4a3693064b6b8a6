"""Submissions: from a request body to a committed job, offered to the queue."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from service.clock import Clock
from service.errors import (
    FieldError,
    FieldTooLargeError,
    IdempotencyKeyInFlightError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    TooManyPartsError,
    UnknownFileError,
)
from service.intake.incoming import Incoming
from service.intake.receive import Received, Receiver
from service.intake.submission import Submission, from_text, from_values
from service.meters import Meters
from service.processors.base import Processor
from service.processors.registry import Registry
from service.queues.base import JobQueue, Ticket
from service.settings import Settings, environment_name
from service.store.files import Files, first_file
from service.store.ids import new_id
from service.store.jobs import Jobs, first_job
from service.store.models import File, IdempotencyKey, to_json
from service.store.records import FirstAnswer, JobRecord, NewFile, NewJob
from service.store.rows import KeyTakenError

_T = TypeVar("_T")
_MAX_KEY_CHARS = 255
_NO_FIELDS = (
    "by its Content-Type the body is neither a form nor JSON, so it is the file itself, and its fields belong in the "
    "query, where `processor` is missing; send ?processor=NAME, multipart/form-data or application/json"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that is durable; `replayed` when an earlier request with the same key made it."""

    record: JobRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is durable; `replayed` as for `Accepted`."""

    file: File
    replayed: bool = False


class Intake:
    """Takes submissions in."""

    def __init__(
        self,
        receiver: Receiver,
        jobs: Jobs,
        files: Files,
        registry: Registry,
        queue: JobQueue,
        *,
        settings: Settings,
        meters: Meters,
        clock: Clock,
    ) -> None:
        self._receiver = receiver
        self._jobs = jobs
        self._files = files
        self._registry = registry
        self._queue = queue
        self._settings = settings
        self._meters = meters
        self._clock = clock
        self._in_flight: set[str] = set()

    async def submit(self, incoming: Incoming) -> Accepted:
        """Read the body, check it, commit the job, offer it to the queue."""
        with self._only_one("jobs", incoming.idempotency_key) as key:
            async with self._receiver.receive(incoming, self._refuse_early) as received:
                submission = _submission_of(received)
                facts = {} if key is None else submission.model_dump(mode="json")
                answer = first_answer(key, facts, received.files)
                if earlier := await self._earlier(answer, first_job):
                    return Accepted(earlier, replayed=True)
                processor = self._registry.get_named(submission.processor)
                job = await self._new_job(submission, processor, received.files, answer)
                try:
                    with received.committing():
                        record = await self._add(job, Ticket(job.id, job.priority, job.processor))
                except KeyTakenError:
                    return Accepted(await self._must_find_earlier(answer, first_job), replayed=True)
        self._meters.submitted(job.processor, sum(file.size_bytes for file in received.files))
        return Accepted(record)

    async def _add(self, job: NewJob, ticket: Ticket) -> JobRecord:
        """Commit the job. A consumer that has nothing to do claims it in the same commit; else it is offered then."""
        if job.run_after > job.created_at:
            return await self._jobs.add(job)
        handed_over = self._queue.hand_over(ticket)  # the consumer runs when this here waits: its claim comes after
        record = await self._jobs.add(job)
        if not handed_over:
            self._queue.offer(ticket)
        return record

    async def keep(self, incoming: Incoming) -> Kept:
        """Read the body, and commit the one file in it."""
        with self._only_one("files", incoming.idempotency_key) as key:
            async with self._receiver.receive(incoming, _refuse_fields, takes_json=False) as received:
                file = _only_file(received)
                answer = first_answer(key, {}, [file])
                if earlier := await self._earlier(answer, first_file):
                    return Kept(earlier, replayed=True)
                try:
                    with received.committing():
                        kept = await self._files.keep(file, answer)
                except KeyTakenError:
                    return Kept(await self._must_find_earlier(answer, first_file), replayed=True)
        self._meters.stored(file.size_bytes)
        return Kept(kept)

    # ---- checks

    def _refuse_early(self, received: Received) -> None:
        """Refuse what is already known to be wrong before a file is read."""
        if "processor" not in received.fields:
            if received.is_raw:
                raise InvalidRequestError(_NO_FIELDS, errors=[FieldError("processor", "missing", "Field required")])
            return
        known = _submission_of(received)
        processor = self._registry.get_named(known.processor)
        self._check_sizes(known)
        if received.is_raw or "params" in received.fields:
            processor.check_params(known.params)
        if processor.max_files is not None and len(received.files) >= processor.max_files:
            processor.check_file_count(len(received.files) + 1)

    async def _new_job(
        self, wanted: Submission, processor: Processor, uploads: Sequence[NewFile], answer: FirstAnswer | None
    ) -> NewJob:
        processor.check_available()
        self._check_sizes(wanted)
        params = processor.check_params(wanted.params)
        stored = await self._stored(wanted.files)
        processor.check_file_count(len(uploads) + len(stored))
        for file in (*uploads, *stored):
            processor.check_media_type(file.name, file.media_type)
        now = self._clock.now()
        return NewJob(
            id=new_id(),
            processor=processor.name,
            params=params,
            metadata=wanted.metadata,
            priority=wanted.priority,
            max_attempts=wanted.max_attempts or processor.max_attempts or self._settings.job_max_attempts,
            timeout_s=wanted.timeout_s or processor.timeout_s or self._settings.job_timeout_s,
            created_at=now,
            run_after=max(wanted.run_after or now, now),
            uploads=tuple(uploads),
            stored=stored,
            first_answer=answer,
        )

    def _check_sizes(self, wanted: Submission) -> None:
        """Raise `FieldTooLargeError` where params or metadata are more than their settings allow."""
        limits = {"params": self._settings.max_params_bytes, "metadata": self._settings.max_metadata_bytes}
        for name, limit in limits.items():
            size_bytes = 0 if limit is None else len(to_json(getattr(wanted, name)).encode())
            if limit is not None and size_bytes > limit:
                setting = environment_name(f"max_{name}_bytes")
                raise FieldTooLargeError(
                    f"the {name} have {size_bytes} bytes of JSON, and may have {limit} ({setting})"
                )

    async def _stored(self, file_ids: Sequence[str]) -> tuple[NewFile, ...]:
        if len(file_ids) > self._settings.max_files:
            raise TooManyPartsError(f"a job may have {self._settings.max_files} files")
        if not file_ids:
            return ()
        found = await self._files.find_many(file_ids)
        if missing := [file_id[:100] for file_id in file_ids if file_id not in found]:
            raise UnknownFileError(f"no file is stored under {', '.join(missing)}; upload it to /v1/files first")
        return tuple(_new_file(found[file_id]) for file_id in file_ids)

    # ---- idempotency

    @contextmanager
    def _only_one(self, scope: str, key: str | None) -> Iterator[str | None]:
        """Let one request with a key in at a time; give the key as it is stored."""
        if key is None:
            yield None
            return
        if not (key.strip() and len(key) <= _MAX_KEY_CHARS and key.isprintable()):
            raise InvalidRequestError(
                f"an Idempotency-Key has 1 to {_MAX_KEY_CHARS} printable characters, not all blank"
            )
        scoped = f"{scope}:{key}"
        if scoped in self._in_flight:
            raise IdempotencyKeyInFlightError(f"another request with the key {key!r} is being taken; try again")
        self._in_flight.add(scoped)
        try:
            yield scoped
        finally:
            self._in_flight.discard(scoped)

    async def _earlier(self, answer: FirstAnswer | None, read: Callable[[IdempotencyKey], _T | None]) -> _T | None:
        """Return the first answer to the key, if there is one.

        Raises:
            IdempotencyKeyReusedError: the key belongs to another request.
        """
        found = await self._jobs.find_answer(answer.key) if answer else None
        if found is None or answer is None:
            return None
        if found.fingerprint != answer.fingerprint:
            raise IdempotencyKeyReusedError("this key was used with another body; use a new key for a new request")
        return read(found)

    async def _must_find_earlier(self, answer: FirstAnswer | None, read: Callable[[IdempotencyKey], _T | None]) -> _T:
        if (earlier := await self._earlier(answer, read)) is None:
            raise IdempotencyKeyInFlightError("another request with this key is being taken; try again")
        return earlier


def first_answer(key: str | None, fields: dict[str, Any], files: Sequence[NewFile]) -> FirstAnswer | None:
    """Return what to remember of a request: the same fields and the same bytes give the same fingerprint."""
    if key is None:
        return None
    facts = [fields, [[file.name, file.size_bytes, file.sha256] for file in files]]
    return FirstAnswer(key, hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest())


def _submission_of(received: Received) -> Submission:
    if received.values is not None:
        return from_values(received.values)
    if received.submission is None:
        received.submission = from_text(received.fields)
    return received.submission


def _refuse_fields(received: Received) -> None:
    """Refuse what cannot become one file before the file is read."""
    if received.fields or received.files:
        raise InvalidRequestError("send one file: a form with one part called `file`, or the bytes themselves")


def _only_file(received: Received) -> NewFile:
    if received.fields or len(received.files) != 1:
        raise InvalidRequestError("send one file: a form with one part called `file`, or the bytes themselves")
    return received.files[0]


def _new_file(file: File) -> NewFile:
    return NewFile(file.id, file.name, file.media_type, file.size_bytes, file.sha256, file.created_at)
