"""One who watches: connects again when the stream breaks, after the last event that was seen."""

import random
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypedDict

from service.client.answers import ClientError, ProblemError, ServerUnreachableError
from service.client.calls import Call, events_call
from service.client.events import BlockReader, Event, StateEvent, parse_event
from service.client.wire import Wire
from service.clock import Clock
from service.states import TERMINAL, State

RETRY_S = 1.0  # until the server says otherwise
LONGEST_PAUSE_S = 10.0
PATIENCE_S = 60.0
_COMES_BACK = frozenset({429, 502, 503, 504})  # what a server, or a proxy before it, says while it starts or stops


class WatchOptions(TypedDict, total=False):
    """How to watch.

    `states`, `processors` and `jobs` choose among the events of all jobs; with `states` there are neither progress nor
    log lines. `after` is the id of the last event that was seen. With `follow` False the stream ends where it would
    wait. A server that is gone is waited for during `patience_s` (60 s; None: for ever), but not when the first
    connection fails. `on_connect` is called with each connection once the place in the stream is known, so that nothing
    after the call can be missed; `on_loss` with what became of it.
    """

    states: Collection[State]
    processors: Collection[str]
    jobs: Collection[str]
    after: int | None
    follow: bool
    patience_s: float | None
    on_connect: Callable[[], None] | None
    on_loss: Callable[[ClientError], None] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The same, with what holds where nothing is said."""

    job_id: str | None
    states: Collection[State] = ()
    processors: Collection[str] = ()
    jobs: Collection[str] = ()
    after: int | None = None
    follow: bool = True
    patience_s: float | None = PATIENCE_S
    on_connect: Callable[[], None] | None = None
    on_loss: Callable[[ClientError], None] | None = None

    def __post_init__(self) -> None:
        if self.job_id is not None and (self.states or self.processors or self.jobs):
            raise ValueError("states, processors and jobs choose among the events of all jobs, not of one")


class Watcher:
    """Yields each event once and in order, over as many connections as it takes."""

    def __init__(self, wire: Wire, clock: Clock, wanted: Wanted) -> None:
        self._wire = wire
        self._clock = clock
        self._wanted = wanted
        self._last_id = wanted.after
        self._retry_s = RETRY_S
        self._state: State | None = None
        self._was_connected = False
        self._is_greeted = False
        self._lost_at: float | None = None
        self._failures = 0
        self._is_done = False

    async def events(self) -> AsyncGenerator[Event]:
        """Yield the events until the job, or what there is so far, has ended."""
        while True:
            try:
                async with aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
                if self._is_done:
                    return
                self._note_loss(ServerUnreachableError("the server ended the stream"))
            except (ServerUnreachableError, ProblemError) as error:
                if self._is_over and isinstance(error, ProblemError):
                    return  # the job was deleted since
                self._note_loss(error)
            await self._wire.sleep(self._pause_s())

    async def _connection(self) -> AsyncGenerator[Event]:
        """Yield what one connection brings."""
        async with self._wire.open(self._call()) as opened:
            self._note_connection()
            self._is_done = opened.status == 204  # noqa: PLR2004 - no content: there is nothing more, nor will there be
            if self._is_done:
                self._greet()
            reader = BlockReader()
            async for piece in opened.pieces:
                for event in self._read(reader, piece):
                    yield event
                if self._is_done:
                    return
        self._is_done = self._is_done or self._is_over

    @property
    def _is_over(self) -> bool:
        """Whether the job has ended; only the end of the stream says that it was not queued again since."""
        return self._wanted.job_id is not None and self._state in TERMINAL

    def _call(self) -> Call:
        wanted = self._wanted
        filters = {"state": wanted.states, "processor": wanted.processors, "job": wanted.jobs}
        return events_call(wanted.job_id, filters, self._last_id)

    def _read(self, reader: BlockReader, piece: bytes) -> Iterator[Event]:
        for block in reader.feed(piece):
            if block.retry_s is not None:
                self._retry_s = block.retry_s
            if block.is_comment and not self._wanted.follow:
                self._is_done = True  # the first one comes after the past
                return
            event = parse_event(block)
            if event is not None and (self._last_id is None or event.id > self._last_id):
                self._state = event.state if isinstance(event, StateEvent) else self._state
                yield event
            if block.id is not None:
                self._last_id = max(block.id, self._last_id or 0)
            self._greet()

    def _note_connection(self) -> None:
        self._was_connected, self._is_greeted = True, False
        self._lost_at, self._failures = None, 0

    def _greet(self) -> None:
        """Say that there is a connection: with its first block, which says where in the stream it begins."""
        if not self._is_greeted and self._wanted.on_connect is not None:
            self._wanted.on_connect()
        self._is_greeted = True

    def _note_loss(self, error: ServerUnreachableError | ProblemError) -> None:
        """Raise the error unless the server may come back in time."""
        if isinstance(error, ProblemError) and error.status not in _COMES_BACK:
            raise error
        now, patience_s = self._clock.monotonic(), self._wanted.patience_s
        self._lost_at = now if self._lost_at is None else self._lost_at
        self._failures += 1
        if not self._was_connected or (patience_s is not None and now - self._lost_at >= patience_s):
            raise error
        if self._wanted.on_loss is not None:
            self._wanted.on_loss(error)

    def _pause_s(self) -> float:
        """Return a longer time after each failure, and never the same for all who were cut off at once."""
        longest_s: float = min(self._retry_s * 2.0 ** min(self._failures - 1, 10), max(LONGEST_PAUSE_S, self._retry_s))
        return longest_s * random.uniform(0.5, 1)  # noqa: S311 - no secret
