"""/v1/jobs: submit, look, wait, cancel, retry, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.errors import (
    BadRequestError,
    FileCountError,
    InputGoneError,
    InvalidCursorError,
    InvalidParamsError,
    InvalidRequestError,
    JobNotFoundError,
    MediaTypeNotAcceptedError,
    ProcessorUnavailableError,
    StorageFailedError,
    UnknownFileError,
    UnknownProcessorError,
    WrongStateError,
)
from service.intake.submission import QueryInstant
from service.runtime import Runtime
from service.states import State
from service.store.listing import JobFilter
from service.web.bodies import PREFER, SUBMIT_JOB, answer_headers
from service.web.problems import BODY_ERRORS, CHANGE_ERRORS, LOOK_ERRORS, problem_responses
from service.web.requests import JobId, Service, apply_wait, cursor_of, incoming_of, refuse_doubled_query, wait_s
from service.web.schemas import ALWAYS, JOB_FIELDS, JOBS, JobPage, JobView, job_page, job_view

router = APIRouter(prefix=JOBS, tags=["jobs"])

_APPLIED = "`wait=N`, where the call waited: at most N seconds, which may be fewer than were asked for"


def _check_fields(names: str) -> str:
    """Return the names without the blanks around them."""
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in JOB_FIELDS]:
        raise ValueError(f"a job has no field {unknown[0][:100]!r}; it has {', '.join(JOB_FIELDS)}")
    return ",".join(wanted)


_FIELD = f" *({'|'.join(JOB_FIELDS)}) *"
Fields = Annotated[
    str,
    AfterValidator(_check_fields),
    Field(max_length=1000, json_schema_extra={"pattern": f"^{_FIELD}(,{_FIELD})*$"}, examples=["state,metadata"]),
]


class Listing(BaseModel):
    """Which jobs to list."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = Field(None, description="in this state now")
    processor: str | None = Field(None, max_length=200, description="name of the processor")
    created_after: QueryInstant | None = Field(None, description="created at this instant or later")
    created_before: QueryInstant | None = Field(None, description="created before this instant")
    limit: int = Field(50, ge=1, le=500, description="most jobs on a page")
    cursor: str | None = Field(None, description="`next_cursor` of the page before")
    fields: Fields | None = Field(
        None,
        description="names of fields, by commas: a job has only these, beside `id`, `omitted` and `links`; `params`, "
        "`metadata` and `result` are then whole. Without it, what is large is left out",
    )

    @property
    def names(self) -> frozenset[str] | None:
        """The fields that are asked for, or None for all."""
        return None if self.fields is None else frozenset(self.fields.split(","))


@router.post(
    "",
    status_code=202,
    openapi_extra=SUBMIT_JOB,
    responses={
        202: answer_headers(
            Location="where the job is",
            Preference_Applied=_APPLIED,
            Idempotency_Replayed="`true` for a first answer given again",
        ),
        **problem_responses(
            *BODY_ERRORS,
            UnknownProcessorError,
            InvalidParamsError,
            FileCountError,
            MediaTypeNotAcceptedError,
            ProcessorUnavailableError,
            UnknownFileError,
        ),
    },
)
async def submit_job(request: Request, response: Response, service: Service) -> JobView:
    """Submit a job: 202 is sent when its files and its row are durable."""
    accepted = await service.intake.submit(incoming_of(request))
    job_id = accepted.record.job.id
    response.headers["Location"] = f"{JOBS}/{job_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
        return job_view(accepted.record, service.registry)
    if await _waited(request, response, service, job_id):
        return job_view(await service.jobs.get(job_id), service.registry)
    return job_view(accepted.record, service.registry)


@router.get(
    "",
    dependencies=[Depends(refuse_doubled_query)],
    response_model=JobPage,
    responses=problem_responses(BadRequestError, InvalidCursorError, InvalidRequestError, *LOOK_ERRORS),
)
async def list_jobs(listing: Annotated[Listing, Query()], service: Service) -> Response:
    """List jobs, the newest first; what is large is left out, and a page may have fewer jobs than `limit`."""
    wanted = JobFilter(
        state=listing.state,
        processor=listing.processor,
        created_after=listing.created_after,
        created_before=listing.created_before,
        before_id=cursor_of(listing.cursor),
        limit=listing.limit,
        fields=listing.names,
    )
    page = job_page(await service.jobs.list_page(wanted), service.registry)
    return Response(page.model_dump_json(include=_shown(wanted.fields)), media_type="application/json")


@router.get(
    "/{job_id}",
    openapi_extra={"parameters": [PREFER]},
    responses={200: answer_headers(Preference_Applied=_APPLIED), **problem_responses(JobNotFoundError, *LOOK_ERRORS)},
)
async def get_job(job_id: JobId, request: Request, response: Response, service: Service) -> JobView:
    """Look at a job; with `Prefer: wait=N`, when it has finished."""
    await _waited(request, response, service, job_id)
    return job_view(await service.jobs.get(job_id), service.registry)


@router.post("/{job_id}/cancel", responses=problem_responses(JobNotFoundError, WrongStateError, *CHANGE_ERRORS))
async def cancel_job(job_id: JobId, service: Service) -> JobView:
    """Cancel a queued or running job; a running attempt is stopped."""
    return job_view(await service.control.cancel(job_id), service.registry)


@router.post(
    "/{job_id}/retry", responses=problem_responses(JobNotFoundError, WrongStateError, InputGoneError, *CHANGE_ERRORS)
)
async def retry_job(job_id: JobId, service: Service) -> JobView:
    """Queue a failed or cancelled job once more."""
    return job_view(await service.control.retry(job_id), service.registry)


@router.delete(
    "/{job_id}",
    status_code=204,
    responses=problem_responses(JobNotFoundError, WrongStateError, StorageFailedError, *CHANGE_ERRORS),
)
async def delete_job(job_id: JobId, service: Service) -> None:
    """Delete a job that does not run, with its files."""
    await service.control.delete(job_id)


def _shown(fields: frozenset[str] | None) -> Any:
    """Return what pydantic is to include."""
    return None if fields is None else {"items": {"__all__": {*fields, *ALWAYS}}, "next_cursor": True}


async def _waited(request: Request, response: Response, service: Runtime, job_id: str) -> bool:
    """Wait as long as the client prefers; whether it asked for that."""
    if (seconds := wait_s(request, service.settings.max_wait_s)) is None:
        return False
    await service.jobs.wait(job_id, seconds)
    apply_wait(response, seconds)
    return True
