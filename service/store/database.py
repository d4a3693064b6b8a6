"""The database: one connection that writes, and a few that read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

BUSY_TIMEOUT_MS = 10_000
_READERS = 4

# https://www.sqlite.org/pragma.html: WAL lets readers read while the writer writes; FULL syncs at every commit
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA temp_store=MEMORY",
)


class Database:
    """Opens connections to one SQLite file.

    `writes` has a single connection and begins every transaction with the write lock, so that a transaction never
    fails half-way for want of it. `reads` cannot write at all, and never wait for the writer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = _engine(path, "BEGIN IMMEDIATE", pool_size=1)
        self.reads = _engine(path, "BEGIN", "PRAGMA query_only=ON", pool_size=_READERS)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Give a session that reads."""
        async with AsyncSession(self.reads, expire_on_commit=False) as session:
            yield session

    async def aclose(self) -> None:
        """Close all connections."""
        await self.reads.dispose()
        await self.writes.dispose()


def database_url(path: Path) -> str:
    """Return the SQLAlchemy address of the file."""
    return f"sqlite+aiosqlite:///{path}"


def _engine(path: Path, begin: str, *pragmas: str, pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        database_url(path), pool_size=pool_size, max_overflow=0, pool_timeout=BUSY_TIMEOUT_MS / 1000
    )
    _begin_with(engine.sync_engine, begin, (*_PRAGMAS, *pragmas))
    return engine


def _begin_with(engine: Engine, begin: str, pragmas: tuple[str, ...]) -> None:
    """Take transactions out of the driver's hands: it would begin them too late, and not at all for reads."""

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
