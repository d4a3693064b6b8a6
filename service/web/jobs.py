"""/v1/jobs: submit, look, wait, cancel, retry, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.errors import (
    FieldTooLargeError,
    FileCountError,
    IdempotencyKeyInFlightError,
    IdempotencyKeyReusedError,
    InvalidCursorError,
    InvalidParamsError,
    InvalidRequestError,
    JobNotFoundError,
    MalformedMultipartError,
    MediaTypeNotAcceptedError,
    PartHeadersTooLargeError,
    PayloadTooLargeError,
    StorageFailedError,
    StorageFullError,
    TooManyPartsError,
    UnknownProcessorError,
    UploadStalledError,
    WrongStateError,
)
from service.intake.submission import Submission
from service.runtime import Runtime
from service.states import State
from service.store.ids import is_id
from service.store.jobs import JobFilter
from service.web.problems import problem_responses
from service.web.requests import Service, apply_wait, incoming_of, wait_s
from service.web.schemas import JOBS, JobPage, JobView, job_view

router = APIRouter(prefix=JOBS, tags=["jobs"])

_SUBMIT_PROBLEMS = problem_responses(
    MalformedMultipartError, UnknownProcessorError, UploadStalledError, IdempotencyKeyInFlightError,
    PayloadTooLargeError, FieldTooLargeError, TooManyPartsError, InvalidRequestError, InvalidParamsError,
    FileCountError, MediaTypeNotAcceptedError, IdempotencyKeyReusedError, PartHeadersTooLargeError,
    StorageFailedError, StorageFullError,
)  # fmt: skip
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["processor"],
    "properties": {
        "processor": {"type": "string", "example": "image.thumbnail"},
        "params": {"type": "string", "contentMediaType": "application/json", "example": '{"width": 800}'},
        "priority": {"type": "integer", "minimum": -1000, "maximum": 1000},
        "run_after": {"type": "string", "format": "date-time"},
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": 100},
        "timeout_s": {"type": "number"},
        "metadata": {"type": "string", "contentMediaType": "application/json", "example": '{"order": 17}'},
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {"schema": Submission.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        {
            "name": name, "in": "query", "required": False, "schema": {"type": "string"},
            "description": f"{text}, where the body is the file itself",
        }
        for name, text in (("processor", "the processor"), ("filename", "the file's name"), ("params", "JSON object"))
    ]
    + [
        {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}},
        {
            "name": "Prefer", "in": "header", "required": False, "schema": {"type": "string"},
            "description": "`wait=N`: answer when the job has finished, at most N seconds later (RFC 7240)",
        },
    ],
}  # fmt: skip


class Listing(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    processor: str | None = Field(None, max_length=200)
    created_after: AwareDatetime | None = Field(None, description="created at this instant or later")
    created_before: AwareDatetime | None = Field(None, description="created before this instant")
    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


@router.post("", status_code=202, responses=_SUBMIT_PROBLEMS, openapi_extra=_BODY)
async def submit_job(request: Request, response: Response, service: Service) -> JobView:
    """Submit a job: 202 is sent when its files and its row are durable."""
    accepted = await service.intake.submit(incoming_of(request))
    job_id = accepted.record.job.id
    response.headers["Location"] = f"{JOBS}/{job_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
        return job_view(accepted.record)
    if await _waited(request, response, service, job_id):
        return job_view(await service.jobs.get(job_id))
    return job_view(accepted.record)


@router.get("", responses=problem_responses(InvalidCursorError, InvalidRequestError))
async def list_jobs(listing: Annotated[Listing, Query()], service: Service) -> JobPage:
    """List jobs, the newest first."""
    wanted = JobFilter(
        state=listing.state,
        processor=listing.processor,
        created_after=listing.created_after,
        created_before=listing.created_before,
        before_id=_cursor(listing.cursor),
        limit=listing.limit + 1,
    )
    records = await service.jobs.list_page(wanted)
    page, more = records[: listing.limit], records[listing.limit :]
    return JobPage(items=[job_view(one) for one in page], next_cursor=page[-1].job.id if more else None)


@router.get("/{job_id}", responses=problem_responses(JobNotFoundError))
async def get_job(job_id: str, request: Request, response: Response, service: Service) -> JobView:
    """Look at a job; with `Prefer: wait=N`, when it has finished."""
    await _waited(request, response, service, job_id)
    return job_view(await service.jobs.get(job_id))


@router.post("/{job_id}/cancel", responses=problem_responses(JobNotFoundError, WrongStateError))
async def cancel_job(job_id: str, service: Service) -> JobView:
    """Cancel a queued or running job; a running attempt is stopped."""
    return job_view(await service.control.cancel(job_id))


@router.post("/{job_id}/retry", responses=problem_responses(JobNotFoundError, WrongStateError))
async def retry_job(job_id: str, service: Service) -> JobView:
    """Queue a failed or cancelled job once more."""
    return job_view(await service.control.retry(job_id))


@router.delete("/{job_id}", status_code=204, responses=problem_responses(JobNotFoundError, WrongStateError))
async def delete_job(job_id: str, service: Service) -> None:
    """Delete a job that does not run, with its files."""
    await service.control.delete(job_id)


async def _waited(request: Request, response: Response, service: Runtime, job_id: str) -> bool:
    """Wait as long as the client prefers; whether it asked for that."""
    if (seconds := wait_s(request)) is None:
        return False
    await service.jobs.wait(job_id, seconds)
    apply_wait(response, seconds)
    return True


def _cursor(cursor: str | None) -> str | None:
    if cursor is not None and not is_id(cursor):
        raise InvalidCursorError(f"{cursor[:100]!r} is no cursor; take `next_cursor` of the page before")
    return cursor
