"""The database: one connection that writes, and a few that read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, TimeoutError  # noqa: A004 - what the pool raises
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from service.errors import DatabaseUnavailableError
from service.store.presence import Presence

BUSY_TIMEOUT_MS = 10_000
_READERS = 4

# https://www.sqlite.org/pragma.html: WAL lets readers read while the writer writes; FULL syncs at every commit
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA temp_store=MEMORY",
)

_OPTIONS: dict[str, Any] = {"hide_parameters": True, "max_overflow": 0, "pool_timeout": BUSY_TIMEOUT_MS / 1000}


class Database:
    """Opens connections to one SQLite file.

    `writes` has a single connection, for the thread of the writer; every transaction begins with the write lock, so
    that none fails half-way for want of it. `reads` cannot write at all, and never wait for the writer.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        pragmas = (*_PRAGMAS, f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self.writes = create_engine(
            database_url(path), pool_size=1, connect_args={"check_same_thread": False}, **_OPTIONS
        )
        begin_with(self.writes, "BEGIN IMMEDIATE", pragmas)
        presence = Presence(path)
        event.listen(self.writes, "commit", lambda _connection: presence.require())
        self.reads = create_async_engine(database_url(path, "sqlite+aiosqlite"), pool_size=_READERS, **_OPTIONS)
        begin_with(self.reads.sync_engine, "BEGIN", (*pragmas, "PRAGMA query_only=ON"))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Give a session that reads.

        Raises:
            DatabaseUnavailableError: the database refused.
        """
        try:
            async with AsyncSession(self.reads, expire_on_commit=False) as session:
                yield session
        except DBAPIError as error:
            raise DatabaseUnavailableError(f"the database refused: {error.orig}") from error
        except TimeoutError as error:
            raise DatabaseUnavailableError("the database is busy; try again") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self.reads.dispose()
        self.writes.dispose()


def database_url(path: Path, driver: str = "sqlite") -> URL:
    """Return the SQLAlchemy address of the file. Text would be read as a URL: `?` and what follows would be options."""
    return URL.create(driver, database=str(path))


def begin_with(engine: Engine, begin: str, pragmas: tuple[str, ...]) -> None:
    """Take transactions out of the driver's hands: it begins them late, and none for reads and changes of tables."""

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)
