"""The database, opened: migrated first, closed in the end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.clock import Clock
from service.own_threads import in_own_thread
from service.store.changes import Changes
from service.store.database import Database
from service.store.feed import Feed
from service.store.files import Files
from service.store.jobs import Jobs
from service.store.migrate import upgrade
from service.store.stats import Stats
from service.store.writer import Writer

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Store:
    """What can be asked of the database."""

    jobs: Jobs
    files: Files
    stats: Stats
    changes: Changes
    feed: Feed
    is_writing: Callable[[], bool]

    def let_go(self) -> None:
        """Let go all who wait for a job, or listen: the server stops."""
        self.changes.close()
        self.feed.close()


@asynccontextmanager
async def open_store(
    path: Path, clock: Clock, on_commit: Callable[[int], None], *, durable: bool = True
) -> AsyncIterator[Store]:
    """Open the database file; `on_commit` hears how many writes each commit had.

    What is not `durable` is committed without a sync: a power cut takes the last of it, a crash does not.

    Raises:
        StartError: the file is no database, or one of a newer version.
    """
    before, after = await in_own_thread(upgrade, path)
    if before != after:
        log.info("database migrated", path=str(path), before=before, after=after)
    database = Database(path, durable=durable)
    feed = Feed(database)
    changes = Changes(feed.end_job)

    def committed(writes: int) -> None:
        feed.wake()
        on_commit(writes)

    try:
        async with Writer(database.writes, committed) as writer:
            store = Store(
                Jobs(database, writer, changes),
                Files(database, writer),
                Stats(database, clock),
                changes,
                feed,
                lambda: not (writer.is_lost or writer.is_closed),
            )
            try:
                yield store
            finally:
                store.let_go()
    finally:
        await database.aclose()
