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
from typing import Any

from sqlalchemy import text
from sqlmodel import col, select

from service.store.database import Database
from service.store.models import Event, Job

CAPACITY = 2000  # events that wait for one listener; one that is further behind has to resume
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


Wanted = Callable[[JobEvent], bool]


class Listener:
    """One who listens from `position` on: `None` from `next` is a pause, `ended` says that there will be no more."""

    def __init__(self, wanted: Wanted, capacity: int) -> None:
        self.position = 0
        self.ended = False
        self._wanted = wanted
        self._capacity = capacity
        self._events: deque[JobEvent] = deque()
        self._arrived = asyncio.Event()

    async def next(self, patience_s: float) -> JobEvent | None:
        """Return the next event, or None after `patience_s` seconds without one and at the end."""
        if not self._events and not self.ended:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        return self._events.popleft() if self._events else None

    def take(self, event: JobEvent) -> None:
        """Keep an event until it is asked for; a listener too far behind is let go, and its memory with it."""
        if self.ended or not self._wanted(event):
            return
        if len(self._events) >= self._capacity:
            self._events.clear()
            self.end()
            return
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
        statement = (
            select(Event, col(Job.processor))
            .join(Job, col(Job.id) == col(Event.job_id))
            .where(col(Event.id) > after)
            .order_by(col(Event.id))
            .limit(_SLICE)
        )
        if upto is not None:
            statement = statement.where(col(Event.id) <= upto)
        if job_id is not None:
            statement = statement.where(col(Event.job_id) == job_id)
        async with self._database.session() as session:
            return [_event(event, processor) for event, processor in await session.exec(statement)]


def _event(event: Event, processor: str) -> JobEvent:
    assert event.id is not None  # noqa: S101 - a row of the table has one
    return JobEvent(event.id, event.job_id, processor, event.at, event.kind, event.attempt, event.data)
