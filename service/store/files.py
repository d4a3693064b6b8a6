"""Files, as the rest of the service asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from service.errors import FileInUseError, StoredFileNotFoundError
from service.store.additions import KeptFile, keep_files
from service.store.control import Deletion, Unused, delete_files, delete_jobs, delete_unused
from service.store.database import Database
from service.store.ids import first_id_at
from service.store.models import File, IdempotencyKey
from service.store.records import FirstAnswer, NewFile
from service.store.rows import KeyTakenError, file_of
from service.store.shrinking import shrink
from service.store.tables import keys
from service.store.writer import Writer

_NEW_FILE = TypeAdapter(NewFile)
MAX_PAGE_CHARS = 256 * 1024


@dataclass(frozen=True, slots=True)
class FileFilter:
    """Which files to list; `before_id` is the id that the page before ended with.

    `unused` ones are those that were stored for themselves and that no job has.
    """

    unused: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before_id: str | None = None
    limit: int = 50


class Files:
    """The files table, and all that deletes from it."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def keep(self, new: NewFile, first_answer: FirstAnswer | None = None) -> File:
        """Commit a file that was uploaded for itself.

        Raises:
            KeyTakenError: the idempotency key has an answer already.
        """
        try:
            await self._writer.write(keep_files, KeptFile(new, first_answer))
        except IntegrityError as error:
            raise KeyTakenError from error
        return file_of(new)

    async def get(self, file_id: str) -> File:
        """Return the file.

        Raises:
            StoredFileNotFoundError: there is none with this id.
        """
        async with self._database.session() as session:
            file = await session.get(File, file_id)
        if file is None:
            raise StoredFileNotFoundError(f"there is no file {file_id[:100]}")
        return file

    async def find_many(self, file_ids: Sequence[str]) -> dict[str, File]:
        """Return those of the files that are there, by id."""
        async with self._database.session() as session:
            rows = await session.exec(select(File).where(col(File.id).in_(file_ids)))
            return {file.id: file for file in rows}

    async def list_page(self, wanted: FileFilter) -> tuple[list[File], bool]:
        """Return up to `limit` files, the newest first, and whether there are more.

        A page whose names have more than `MAX_PAGE_CHARS` together ends before them: a name can be of any length.
        """
        newest = col(File.id).desc()
        lengths = select(File.id, func.length(File.name)).where(*_conditions(wanted)).order_by(newest)
        async with self._database.session() as session:
            found = list(await session.exec(lengths.limit(wanted.limit + 1)))
            fitting = _fitting(found[: wanted.limit])
            page = list(await session.exec(select(File).where(col(File.id).in_(fitting)).order_by(newest)))
        return page, len(found) > len(fitting)

    async def delete(self, file_id: str) -> None:
        """Delete the row of a file.

        Raises:
            StoredFileNotFoundError: there is none with this id.
            FileInUseError: a queued or running job needs it.
        """
        if not await self._writer.write(delete_files, file_id):
            await self.get(file_id)
            raise FileInUseError(f"a job that is not finished needs the file {file_id}; cancel the job first")

    async def delete_with_jobs(
        self, job_ids: Sequence[str], finished_before: datetime | None = None, at: datetime | None = None
    ) -> tuple[int, list[str]]:
        """Delete jobs that do not run; return how many, and the ids of the files that are nobody's now.

        With `finished_before`, a job that was retried meanwhile stays. `at` is the moment; see `Deletion`.
        """
        return await self._writer.write(delete_jobs, Deletion(tuple(job_ids), finished_before, at))

    async def delete_unused(self, before: datetime, limit: int) -> list[str]:
        """Delete up to `limit` files that no job has, and none has had since before this moment; return their ids."""
        return await self._writer.write(delete_unused, Unused(before, limit))

    async def shrink(self) -> int:
        """Give a slice of the database's free pages back to the file system; return how many, 0 when that is all."""
        return await self._writer.write(shrink, None)

    async def prune_answers(self, before: datetime) -> int:
        """Forget idempotency keys from before this moment; return how many."""
        return await self._writer.write(prune_keys, before)


def first_file(answer: IdempotencyKey) -> File | None:
    """Return the file of a first answer; None when the answer was not a file."""
    return file_of(_NEW_FILE.validate_python(answer.answer["file"])) if "file" in answer.answer else None


def _fitting(found: Sequence[tuple[str, int]]) -> list[str]:
    """Return the ids of the first files, at least of one, whose names fit on a page."""
    room = MAX_PAGE_CHARS
    ids: list[str] = []
    for file_id, length in found:
        room -= length
        if room < 0 and ids:
            break
        ids.append(file_id)
    return ids


def _conditions(wanted: FileFilter) -> list[Any]:
    bounds: list[Any] = [
        (wanted.unused is True and col(File.last_used_at).is_not(None)),
        (wanted.unused is False and col(File.last_used_at).is_(None)),
        (wanted.created_after and col(File.id) >= first_id_at(wanted.created_after)),
        (wanted.created_before and col(File.id) < first_id_at(wanted.created_before)),
        (wanted.before_id and col(File.id) < wanted.before_id),
    ]
    return [bound for bound in bounds if bound is not None and bound is not False]


def prune_keys(connection: Connection, items: Sequence[datetime]) -> Sequence[int]:
    """Forget a slice of the idempotency keys that are older than each moment."""
    return [_prune_keys(connection, before) for before in items]


def _prune_keys(connection: Connection, before: datetime) -> int:
    expired = select(keys.c.key).where(keys.c.created_at < before).order_by(keys.c.created_at).limit(500)
    return (connection.execute(delete(keys).where(keys.c.key.in_(expired)))).rowcount
