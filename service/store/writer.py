"""The one writer: concurrent writes become one transaction.

SQLite has one writer at a time, and a commit costs an fsync. So whoever wants to write hands the writer a
statement and an item and waits; the writer takes all that has come together meanwhile, runs each statement once
for all of its items, and commits once. When nothing else waits, that is at once. A transaction runs in a thread
of its own from begin to end: a change of threads for each statement would cost more than the statement.

Writes that are `last` run after the others of their transaction, in their order: so a job can be added and claimed in
one commit, and what was claimed be put back.

A failure never hits a neighbour: a transaction in which anything fails is undone and run again with a savepoint
for each item, and the item that fails gets its own error. Where SQLite undoes the whole transaction by itself, as it
does when the disk is full, the item at fault is told so and the others are run once more without it.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.errors import DatabaseUnavailableError, FilemillError, ShuttingDownError
from service.lasting import LastingTask

log = structlog.get_logger()

R = TypeVar("R")
Statement = Callable[[Connection, Sequence[Any]], Sequence[Any]]
_Run = Callable[[Connection, list["_Write"]], None]
MAX_BATCH = 256


class AloneError(FilemillError):
    """Raised by a statement that cannot tell which of several items failed: it is run again for each alone."""


class _UndoneError(Exception):
    """SQLite has undone the whole transaction because of one write."""

    def __init__(self, write: "_Write", error: Exception) -> None:
        super().__init__(str(error))
        self.write = write
        self.error = error


@dataclass(slots=True)
class _Write:
    """A statement to run for an item; in the end it has an answer or an error."""

    statement: Statement
    item: Any
    last: bool
    done: asyncio.Future[Any]
    answer: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        """Give the caller what came of it."""
        if self.done.done():
            return
        if self.error is None:
            self.done.set_result(self.answer)
        else:
            self.done.set_exception(_public(self.error))


class Writer:
    """Gathers writes into transactions on one connection, and says so after each. Use as `async with`."""

    def __init__(self, engine: Engine, on_commit: Callable[[int], None] = lambda _writes: None) -> None:
        self._connection = _Kept(engine)
        self._on_commit = on_commit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: list[_Write] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: LastingTask | None = None
        self.commits = 0
        self.writes = 0

    async def __aenter__(self) -> Self:
        self._task = LastingTask(self._run, "writer", lambda: self._closing and not self._waiting)
        return self

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be written any more."""
        return self._task is not None and self._task.is_lost

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more, or is about to."""
        return self._closing

    async def __aexit__(self, *_: object) -> None:
        """Write what still waits, then stop."""
        self._closing = True
        self._wake.set()
        try:
            if self._task is not None:
                await self._task.ended()
        finally:
            self._refuse_what_waits()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._thread.shutdown()

    async def write(
        self, statement: Callable[[Connection, Sequence[Any]], Sequence[R]], item: Any, *, last: bool = False
    ) -> R:
        """Run `statement` for `item` in the next transaction, and return its answer once that is committed.

        With `last`, it runs after what is written by others. A caller that is cancelled does not undo the write.

        Raises:
            IntegrityError: a key is taken, or a row that this one needs is gone.
            DatabaseUnavailableError: the database refused. In each case nothing of this item was written.
        """
        if self._closing:
            raise ShuttingDownError("the server is stopping and takes no more writes")
        if self.is_lost:
            raise DatabaseUnavailableError(
                "the writer of the database has ended; if it does not come back, start the server again"
            )
        write = _Write(statement, item, last, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        self._wake.set()
        return await write.done  # type: ignore[no-any-return]

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._wake.set()  # one that was ended before may have left something
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(0)  # one round of the loop, for those who were woken by the same event
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                batch.sort(key=attrgetter("last"))  # what came first stays first
                committing = loop.run_in_executor(self._thread, _commit, self._connection, batch)
                committing.add_done_callback(partial(self._tell, batch))
                await asyncio.shield(committing)  # whoever ends this task: those who wait are told

    def _refuse_what_waits(self) -> None:
        """Tell those whose writes a lost writer has left."""
        left, self._waiting = self._waiting, []
        if left:
            _fail(left, DatabaseUnavailableError("the writer of the database has ended"))
        for write in left:
            write.tell()

    def _tell(self, batch: list["_Write"], committing: asyncio.Future[int]) -> None:
        if (error := committing.exception()) is not None:
            _fail(batch, DatabaseUnavailableError(f"the transaction could not be run: {error!r}"))
        for write in batch:
            write.tell()
        committed = 0 if error else committing.result()
        self.commits += committed > 0
        self.writes += committed
        try:
            self._on_commit(committed)
        except Exception:
            log.exception("commit could not be told")


# ---- in the thread


class _Kept:
    """The connection, which stays open while all goes well: to borrow it anew for each commit costs as much again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: Connection | None = None

    def open(self) -> Connection:
        """Return it."""
        if self._open is None:
            self._open = self._engine.connect()
        return self._open

    def close(self) -> None:
        """Give it back; whatever was left undecided on it is undone."""
        held, self._open = self._open, None
        try:
            if held is not None:
                held.close()
        except Exception as error:  # noqa: BLE001 - the next write opens another
            log.warning("connection could not be closed", error=str(error)[:500])


def _commit(kept: _Kept, batch: list[_Write]) -> int:
    """Write the batch, and return how many writes were committed; the others have their errors."""
    tries = 0
    try:
        connection, left = kept.open(), batch
        for run in itertools.chain((_together,), itertools.repeat(_one_by_one)):
            tries += 1
            if not left or _transact(connection, left, run):
                break
            left = [write for write in left if write.error is None]
    except Exception as error:  # noqa: BLE001 - nothing can be begun
        _fail(batch, error)
    committed = sum(write.error is None for write in batch)
    if tries > 1 or committed < len(batch):
        kept.close()  # after a commit that failed, only this ends the transaction of the driver
    return committed


def _transact(connection: Connection, batch: list[_Write], run: _Run) -> bool:
    """Whether the batch is over: committed, or failed for good. If not, it left nothing, and may be run again."""
    transaction = connection.begin()  # a lock that cannot be had is not waited for twice
    try:
        run(connection, batch)
    except _UndoneError as undone:
        transaction.rollback()
        _fail([undone.write], undone.error)
        return False
    except Exception as error:  # noqa: BLE001 - told to the callers, or to the second try
        transaction.rollback()
        if run is _together:
            return False
        _fail(batch, error)
        return True
    try:
        transaction.commit()
    except Exception as error:  # noqa: BLE001 - a sync that failed is never tried again: it would seem to succeed
        _fail(batch, error)
        transaction.rollback()
    return True


def _fail(batch: list[_Write], error: Exception) -> None:
    log.warning("writes failed", error=str(error)[:500], writes=len(batch))
    for write in batch:
        write.error = error


def _together(connection: Connection, batch: list[_Write]) -> None:
    """Run each statement once for all of its items, in the order in which they came first."""
    groups: dict[Statement, list[_Write]] = {}
    for write in batch:
        groups.setdefault(write.statement, []).append(write)
    for statement, group in groups.items():
        answers = statement(connection, [write.item for write in group])
        for write, answer in zip(group, answers, strict=True):
            write.answer = answer


def _one_by_one(connection: Connection, batch: list[_Write]) -> None:
    """Run each item in a savepoint of its own; an error of one is undone alone."""
    for write in batch:
        connection.exec_driver_sql("SAVEPOINT item")
        try:
            write.answer, write.error = write.statement(connection, [write.item])[0], None
        except Exception as error:
            if not _is_open(connection):
                raise _UndoneError(write, error) from error
            connection.exec_driver_sql("ROLLBACK TO item")
            write.error = error
        connection.exec_driver_sql("RELEASE item")


def _is_open(connection: Connection) -> bool:
    """Whether the transaction is still there: https://www.sqlite.org/lang_transaction.html, section 3."""
    raw = connection.connection.driver_connection
    return bool(raw is not None and raw.in_transaction)


def _public(error: Exception) -> Exception:
    if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
        refused = DatabaseUnavailableError(f"the database refused: {error.orig}")
        refused.__cause__ = error
        return refused
    return error
