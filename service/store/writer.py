"""The one writer: concurrent writes become one transaction.

SQLite has one writer at a time, and a commit costs an fsync. So whoever wants to write hands the writer a
statement and an item and waits; the writer takes all that has come together meanwhile, runs each statement once
for all of its items, and commits once. When nothing else waits, that is at once.

A failure never hits a neighbour: a transaction in which anything fails is undone and run again with a savepoint
for each item, and the item that fails gets its own error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import DatabaseUnavailableError, FilemillError, ShuttingDownError

log = structlog.get_logger()

R = TypeVar("R")
Statement = Callable[[AsyncConnection, Sequence[Any]], Awaitable[Sequence[Any]]]
Answers = list[tuple["_Write", Any]]
MAX_BATCH = 256


class AloneError(FilemillError):
    """Raised by a statement that cannot tell which of several items failed: it is run again for each alone."""


@dataclass(slots=True)
class _Write:
    statement: Statement
    item: Any
    done: asyncio.Future[Any]


class Writer:
    """Gathers writes into transactions on one connection. Use as `async with`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: list[_Write] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.commits = 0
        self.writes = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what still waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def write(self, statement: Callable[..., Awaitable[Sequence[R]]], item: Any) -> R:
        """Run `statement` for `item` in the next transaction, and return its answer once that is committed.

        A caller that is cancelled does not undo the write.

        Raises:
            IntegrityError: a key is taken, or a row that this one needs is gone.
            DatabaseUnavailableError: the database refused. In each case nothing of this item was written.
        """
        if self._closing:
            raise ShuttingDownError("the server is stopping and takes no more writes")
        write = _Write(statement, item, asyncio.get_running_loop().create_future())
        self._waiting.append(write)
        self._wake.set()
        return await write.done  # type: ignore[no-any-return]

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._commit(batch)

    async def _commit(self, batch: list[_Write]) -> None:
        answers = await self._try(batch, _together) or await self._try(batch, _one_by_one)
        if answers is None:
            return
        self.commits += 1
        self.writes += len(batch)
        for write, answer in answers:
            if isinstance(answer, Exception):
                _fail(write, answer)
            elif not write.done.done():
                write.done.set_result(answer)

    async def _try(
        self, batch: list[_Write], run: Callable[[AsyncConnection, list[_Write]], Awaitable[Answers]]
    ) -> Answers | None:
        """Return the answers of one committed transaction, or None when it failed and left nothing."""
        try:
            async with self._engine.begin() as connection:
                return await run(connection, batch)
        except Exception as error:  # noqa: BLE001 - told to the callers, or to the second try
            if run is _one_by_one:
                log.warning("transaction failed", error=str(error), writes=len(batch))
                for write in batch:
                    _fail(write, error)
            return None


async def _together(connection: AsyncConnection, batch: list[_Write]) -> Answers:
    """Run each statement once for all of its items, in the order in which they came first."""
    groups: dict[Statement, list[_Write]] = {}
    for write in batch:
        groups.setdefault(write.statement, []).append(write)
    answers: Answers = []
    for statement, group in groups.items():
        answers += zip(group, await statement(connection, [write.item for write in group]), strict=True)
    return answers


async def _one_by_one(connection: AsyncConnection, batch: list[_Write]) -> Answers:
    """Run each item in a savepoint of its own; an error is an answer like any other."""
    answers: Answers = []
    for write in batch:
        try:
            async with connection.begin_nested():
                answer: Any = (await write.statement(connection, [write.item]))[0]
        except Exception as error:  # noqa: BLE001
            answer = error
        answers.append((write, answer))
    return answers


def _fail(write: _Write, error: Exception) -> None:
    if write.done.done():
        return
    if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
        cause = DatabaseUnavailableError(f"the database refused: {error.orig}")
        cause.__cause__ = error
        write.done.set_exception(cause)
    else:
        write.done.set_exception(error)
