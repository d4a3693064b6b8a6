"""The events of all jobs as they are committed, read once for all who listen.

A listener is registered at a position: what came before it is read from the table, what comes after it arrives by
itself. So a listener that resumes after any event misses none and gets none twice, across restarts too, because
positions are ids of the events table, and the one writer gives them in the order of its commits.
"""

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BLOB, bindparam, cast, func, text
from sqlmodel import select

from service.sizes import MIB
from service.store.database import Database
from service.store.tables import events, jobs

CAPACITY = 2000  # events that wait for one listener; one that is further behind has to resume
CAPACITY_BYTES = 4 * MIB  # of their data
PAGE_BYTES = MIB  # of the data of a page: at least one event
_SLICE = 1000
_NEWEST = text("SELECT seq FROM sqlite_sequence WHERE name = 'events'")


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A row of the events table. `kind` is `state`, `progress` or `log`; `data` is its own for each."""

    id: int
    job_id: str
    processor: str
    at: datetime
    kind: str
    attempt: int
    data: dict[str, Any]
    size_bytes: int = 0  # of the data as JSON


Wanted = Callable[[JobEvent], bool]


class Listener:
    """One who listens from `position` on: `None` from `next` is a pause, `ended` says that there will be no more."""

    def __init__(self, wanted: Wanted, capacity: int, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self.position = 0
        self.ended = False
        self._wanted = wanted
        self._capacity = capacity
        self._room_bytes = capacity_bytes
        self._events: deque[JobEvent] = deque()
        self._arrived = asyncio.Event()

    async def next(self, patience_s: float) -> JobEvent | None:
        """Return the next event, or None after `patience_s` seconds without one and at the end."""
        if not self._events and not self.ended:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        if not self._events:
            return None
        event = self._events.popleft()
        self._room_bytes += event.size_bytes
        return event

    def take(self, event: JobEvent) -> None:
        """Keep an event until it is asked for; a listener too far behind is let go, and its memory with it."""
        if self.ended or not self._wanted(event):
            return
        if len(self._events) >= self._capacity or (self._events and event.size_bytes > self._room_bytes):
            self._events.clear()
            self.end()
            return
        self._room_bytes -= event.size_bytes
        self._events.append(event)
        self._arrived.set()

    def end(self) -> None:
        """Say that no more will come."""
        self.ended = True
        self._arrived.set()


class Feed:
    """Reads what was committed, and hands it to each listener. `wake` is for the writer, `run` is a duty."""

    def __init__(self, database: Database, capacity: int = CAPACITY) -> None:
        self._database = database
        self._capacity = capacity
        self._listeners: defaultdict[str | None, set[Listener]] = defaultdict(set)  # by job, or None for all
        self._reading = asyncio.Lock()
        self._committed = asyncio.Event()
        self._position = 0
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return sum(map(len, self._listeners.values()))

    def wake(self) -> None:
        """Say that something was committed."""
        self._committed.set()

    async def run(self) -> None:
        """Hand on what is committed, for ever; nothing is read while nobody listens."""
        self._committed.set()  # whoever did this before may have been ended in the middle
        while True:
            await self._committed.wait()
            self._committed.clear()
            if self._listeners:
                await self._hand_on()

    @asynccontextmanager
    async def listen(self, wanted: Wanted, job_id: str | None = None) -> AsyncIterator[Listener]:
        """Give a listener that gets every wanted event, of one job or of all, after its `position`."""
        listener = Listener(wanted, self._capacity)
        is_first = not self._listeners
        # first of all: what is committed from now on must find somebody who listens
        self._listeners[job_id].add(listener)
        try:
            async with self._reading:
                if is_first:
                    self._position = await self.newest()
                listener.position = self._position
            if self._closed:
                listener.end()
            yield listener
        finally:
            self._forget(listener, job_id)

    async def newest(self) -> int:
        """Return the id of the last event that there ever was, or 0: its row may be gone with its job."""
        async with self._database.session() as session:
            newest: int | None = await session.scalar(_NEWEST)
        return newest or 0

    async def read(self, after: int, upto: int | None = None, job_id: str | None = None) -> AsyncGenerator[JobEvent]:
        """Yield the events with ids above `after`, up to and with `upto`, from the table."""
        while page := await self._read_page(after, upto, job_id):
            for event in page:
                yield event
            after = page[-1].id

    def end_job(self, job_id: str) -> None:
        """Let go those who listen to a job that was deleted."""
        for listener in self._listeners.get(job_id, ()):
            listener.end()

    def close(self) -> None:
        """Let go all who listen: the server stops."""
        self._closed = True
        for listener in self._all():
            listener.end()

    def _all(self) -> Iterator[Listener]:
        return itertools.chain.from_iterable(self._listeners.values())

    def _forget(self, listener: Listener, job_id: str | None) -> None:
        self._listeners[job_id].discard(listener)
        if not self._listeners[job_id]:
            del self._listeners[job_id]

    async def _hand_on(self) -> None:
        async with self._reading:
            async for event in self.read(self._position):
                self._position = event.id
                for key in (None, event.job_id):
                    for listener in self._listeners.get(key, ()):
                        listener.take(event)

    async def _read_page(self, after: int, upto: int | None, job_id: str | None) -> list[JobEvent]:
        statement = _page(bounded=upto is not None, of_one_job=job_id is not None)
        asked = {"after": after, "upto": upto, "job": job_id, "room": PAGE_BYTES}
        async with self._database.session() as session:
            rows = await session.exec(statement, params=asked)
            return [_event(*row) for row in rows]


@cache
def _page(*, bounded: bool, of_one_job: bool) -> Any:
    """Return the statement for the first events: as many as a page has room for, by count and by weight.

    To put it together takes longer than to run it.
    """
    size = func.length(cast(events.c.data, BLOB))
    conditions = [events.c.id > bindparam("after")]
    conditions += [events.c.id <= bindparam("upto")] if bounded else []
    conditions += [events.c.job_id == bindparam("job")] if of_one_job else []
    weights = select(events.c.id, size.label("size")).where(*conditions).order_by(events.c.id).limit(_SLICE).subquery()
    before = func.sum(weights.c.size).over(order_by=weights.c.id) - weights.c.size
    sums = select(weights.c.id, before.label("before")).subquery()
    last = select(func.max(sums.c.id)).where(sums.c.before < bindparam("room")).scalar_subquery()
    columns: list[Any] = [*events.c, jobs.c.processor, size]
    return (
        select(*columns)
        .join(jobs, jobs.c.id == events.c.job_id)
        .where(*conditions, events.c.id <= last)
        .order_by(events.c.id)
    )


def _event(*row: Any) -> JobEvent:
    number, job_id, at, kind, attempt, data, processor, size_bytes = row
    return JobEvent(number, job_id, processor, at, kind, attempt, data, size_bytes)
