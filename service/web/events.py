"""Server-sent events: what happens to jobs, as it happens.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from service.errors import InvalidEventIdError, InvalidRequestError, JobNotFoundError
from service.runtime import Runtime
from service.states import TERMINAL, State
from service.store.feed import JobEvent, Listener, Wanted
from service.web.problems import LOOK_ERRORS, problem_responses
from service.web.requests import JobId, Service
from service.web.schemas import JOBS
from service.web.streaming import ImpatientResponse

router = APIRouter(tags=["events"])

HEARTBEAT_S = 15.0
RETRY_MS = 1000
_MAX_DIGITS = 18

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="`id` of the last event that was seen: the stream goes on after it"),
]


class EventStream(ImpatientResponse):
    """A stream of events.

    FastAPI's own response for events takes the whole path operation as a generator: too late for a 404 or a 204.
    """

    media_type = "text/event-stream"


class Filter(BaseModel):
    """Which events to send."""

    model_config = ConfigDict(extra="forbid")

    state: list[State] = Field([], description="changes to these states alone; without it, progress and log too")
    processor: list[str] = Field([], max_length=100, description="of these processors")
    job: list[str] = Field([], max_length=100, description="of these jobs")

    def wants(self, event: JobEvent) -> bool:
        """Whether the event is asked for."""
        return (
            (not self.state or event.data.get("state") in self.state)
            and (not self.processor or event.processor in self.processor)
            and (not self.job or event.job_id in self.job)
        )


_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events `state`, `progress` and `log`; the data of each is a JSON object",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


@router.get(
    "/v1/events",
    response_class=EventStream,
    responses=_STREAM | problem_responses(InvalidEventIdError, InvalidRequestError, *LOOK_ERRORS),
)
async def watch_events(
    service: Service, wanted: Annotated[Filter, Query()], last_event_id: LastEventId = None
) -> EventStream:
    """Watch all jobs, from now on or from the last event that was seen."""
    after = await _position(service, last_event_id)
    if after is None:
        after = await service.feed.newest()
    return EventStream(_stream(service, wanted.wants, after), headers=_HEADERS)


@router.get(
    f"{JOBS}/{{job_id}}/events",
    response_class=EventStream,
    responses=_STREAM
    | {204: {"description": "there is nothing after this event: the job has ended"}}
    | problem_responses(JobNotFoundError, InvalidEventIdError, *LOOK_ERRORS),
)
async def watch_job(job_id: JobId, service: Service, last_event_id: LastEventId = None) -> Response:
    """Watch a job from its beginning, or from the last event that was seen, to its end."""
    record = await service.jobs.get(job_id)
    after = await _position(service, last_event_id)
    if after and record.job.state in TERMINAL and not await service.jobs.list_events(job_id, after, limit=1):
        return Response(status_code=204)  # what tells a browser not to come again
    return EventStream(_stream_job(service, job_id, after or 0), headers=_HEADERS)


_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _position(service: Runtime, last_event_id: str | None) -> int | None:
    if last_event_id is None:
        return None
    known = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _MAX_DIGITS
    if not known or int(last_event_id) > await service.feed.newest():
        raise InvalidEventIdError(f"{last_event_id[:100]!r} is no event of this server; leave Last-Event-ID away")
    return int(last_event_id)


async def _stream(service: Runtime, wanted: Wanted, after: int) -> AsyncIterator[bytes]:
    """Yield the events after this one, until the listener is let go."""
    # with the id, one who loses the connection before the first event misses none either
    yield format_sse_event(retry=RETRY_MS, id=str(after))
    async with service.feed.listen(wanted) as listener:
        async with aclosing(service.feed.read(after, listener.position)) as past:
            async for event in past:
                if wanted(event):
                    yield _format(event)
        yield KEEPALIVE_COMMENT  # the past is over: what follows is live
        async for piece in _live(listener):
            yield piece if isinstance(piece, bytes) else _format(piece)


async def _stream_job(service: Runtime, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Yield the events of a job after this one, until its end."""
    yield format_sse_event(retry=RETRY_MS)
    async with service.feed.listen(_every, job_id) as listener:
        state = None
        async with aclosing(service.feed.read(after, listener.position, job_id)) as past:
            async for event in past:
                state = event.data.get("state", state)
                yield _format(event)
        if state in TERMINAL:
            return
        yield KEEPALIVE_COMMENT  # the past is over: what follows is live
        async for piece in _live(listener):
            yield piece if isinstance(piece, bytes) else _format(piece)
            if not isinstance(piece, bytes) and piece.data.get("state") in TERMINAL:
                return


async def _live(listener: Listener) -> AsyncIterator[JobEvent | bytes]:
    """Yield what arrives, and a heartbeat where nothing does."""
    while True:
        event = await listener.next(HEARTBEAT_S)
        if event is not None:
            yield event
        elif listener.ended:
            return
        else:
            yield KEEPALIVE_COMMENT


def _every(_event: JobEvent) -> bool:
    return True


def _format(event: JobEvent) -> bytes:
    data = {
        "job_id": event.job_id,
        "processor": event.processor,
        "at": event.at.isoformat(),
        "attempt": event.attempt,
        **event.data,
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return format_sse_event(event=event.kind, id=str(event.id), data_str=text)
