"""What the API answers with."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.processors.base import Processor
from service.processors.registry import Registry
from service.settings import Settings
from service.states import State
from service.store.listing import Page
from service.store.models import File
from service.store.records import JobRecord
from service.web.redaction import shown_params

JOBS, FILES, PROCESSORS = "/v1/jobs", "/v1/files", "/v1/processors"
EXAMPLE_ID = "019ab3f2-8c61-7d52-9f0e-3a5d1c7b2e44"


class ProgressView(BaseModel):
    """How far a job is."""

    fraction: float = Field(description="from 0 to 1", examples=[0.5])
    message: str = Field(examples=["2 of 4 files"])


class JobErrorView(BaseModel, extra="allow"):
    """Why the last attempt failed."""

    code: str = Field(examples=["timed_out"])
    message: str = Field(examples=["the attempt was stopped after its limit of 600 s"])


class FileView(BaseModel):
    """A stored file."""

    id: str = Field(examples=[EXAMPLE_ID])
    name: str = Field(description="what the client called it; never a path", examples=["photo.jpg"])
    media_type: str = Field(description="by its content", examples=["image/jpeg"])
    size_bytes: int = Field(examples=[527940])
    sha256: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    created_at: datetime
    links: dict[str, str] = Field(
        examples=[{"self": f"{FILES}/{EXAMPLE_ID}", "content": f"{FILES}/{EXAMPLE_ID}/content"}]
    )


class JobView(BaseModel):
    """A job."""

    id: str = Field(examples=[EXAMPLE_ID])
    processor: str = Field(examples=["image.thumbnail"])
    params: dict[str, Any] = Field(description="those that are secret show only asterisks", examples=[{"width": 800}])
    state: State
    priority: int = Field(description="of two jobs that are ready, the higher one runs first", examples=[0])
    progress: ProgressView
    attempt: int = Field(description="attempts begun, but for those that do not count", examples=[1])
    max_attempts: int = Field(examples=[3])
    losses: int = Field(
        description="how often in a row the server died while the job ran; those attempts do not count", examples=[0]
    )
    timeout_s: float = Field(description="limit of one attempt", examples=[600])
    created_at: datetime
    run_after: datetime = Field(description="not before this instant")
    started_at: datetime | None = Field(description="begin of the last attempt")
    finished_at: datetime | None
    inputs: list[FileView]
    outputs: list[FileView]
    result: Any = Field(description="what the processor returned")
    error: JobErrorView | None
    metadata: dict[str, Any] = Field(description="yours", examples=[{"order": 17}])
    input_count: int = Field(description="how many there are, also where `inputs` does not name all", examples=[1])
    output_count: int = Field(description="the same for `outputs`", examples=[1])
    omitted: list[str] = Field(
        description="the fields that a list has left out or cut because they are large; `links.self` has them whole",
        examples=[[]],
    )
    links: dict[str, str] = Field(
        description="where the job is, and where its calls are: they stay the same, and a call that the state of that "
        "moment forbids is a 409",
        examples=[
            {
                "self": f"{JOBS}/{EXAMPLE_ID}", "cancel": f"{JOBS}/{EXAMPLE_ID}/cancel",
                "retry": f"{JOBS}/{EXAMPLE_ID}/retry",
            }
        ],
    )  # fmt: skip


JOB_FIELDS = tuple(JobView.model_fields)
ALWAYS = ("id", "omitted", "links")


def _few_required(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name in ALWAYS]


class JobItem(JobView):
    """A job as a list has it: the fields that were asked for, and of those that are large what is not omitted."""

    model_config = ConfigDict(json_schema_extra=_few_required)


class JobPage(BaseModel):
    """Jobs, the newest first; `next_cursor` asks for the next page, and is null on the last."""

    items: list[JobItem]
    next_cursor: str | None


class FilePage(BaseModel):
    """Files, the newest first; `next_cursor` asks for the next page, and is null on the last."""

    items: list[FileView]
    next_cursor: str | None


class ProcessorView(BaseModel):
    """A processor."""

    name: str = Field(examples=["image.thumbnail"])
    summary: str = Field(examples=["Shrink images to fit a box."])
    details: str = Field(description="what there is to say beyond the summary; may be empty", examples=[""])
    accepts: list[str] = Field(description="media types; `*` stands for any", examples=[["image/jpeg"]])
    params_schema: dict[str, Any] = Field(description="JSON Schema of the params")
    runs_in: Literal["loop", "child"] = Field(description="on the event loop, or in a child process")
    limits: dict[str, float | None] = Field(
        description="null is no limit",
        examples=[
            {
                "min_files": 1, "max_files": 1, "timeout_s": 600, "max_attempts": 3,
                "memory_limit_bytes": 1073741824, "max_concurrency": None,
            }
        ],
    )  # fmt: skip
    available: bool = Field(description="whether all that it needs is installed; else a job for it is refused")
    install: str | None = Field(
        description="the command that installs what it needs", examples=['pip install "filemill[pdf]"']
    )
    links: dict[str, str]


class ProcessorList(BaseModel):
    """All processors of this server."""

    items: list[ProcessorView]


def file_view(file: File) -> FileView:
    """Return the answer for a file."""
    own = f"{FILES}/{file.id}"
    return FileView(
        id=file.id,
        name=file.name,
        media_type=file.media_type,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        created_at=file.created_at,
        links={"self": own, "content": f"{own}/content"},
    )


def job_page(page: Page, registry: Registry) -> JobPage:
    """Return the answer for a page of jobs."""
    items = [JobItem(**_facts_of(record, registry)) for record in page.records]
    return JobPage(items=items, next_cursor=page.next_id)


def job_view(record: JobRecord, registry: Registry) -> JobView:
    """Return the answer for a job, without those params that are secret."""
    return JobView(**_facts_of(record, registry))


def _facts_of(record: JobRecord, registry: Registry) -> dict[str, Any]:
    job, own = record.job, f"{JOBS}/{record.job.id}"
    return {
        "id": job.id,
        "processor": job.processor,
        "params": shown_params(registry.find(job.processor), job.params),
        "state": State(job.state),
        "priority": job.priority,
        "progress": ProgressView(fraction=job.progress_fraction, message=job.progress_message),
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "losses": job.losses,
        "timeout_s": job.timeout_s,
        "created_at": job.created_at,
        "run_after": job.run_after,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "inputs": [file_view(file) for file in record.inputs],
        "outputs": [file_view(file) for file in record.outputs],
        "result": job.result,
        "error": None if job.error is None else JobErrorView(**job.error),
        "metadata": job.metadata_,
        "input_count": len(record.inputs) + record.more_inputs,
        "output_count": len(record.outputs) + record.more_outputs,
        "omitted": list(record.omitted),
        "links": {"self": own, "cancel": f"{own}/cancel", "retry": f"{own}/retry"},
    }


def processor_view(processor: Processor, settings: Settings) -> ProcessorView:
    """Return the answer for a processor; its limits are complete with the server's own."""
    return ProcessorView(
        name=processor.name,
        summary=processor.summary,
        details=processor.details,
        accepts=list(processor.accepts),
        params_schema=processor.params_schema,
        runs_in=processor.lane,
        limits={
            "min_files": processor.min_files,
            "max_files": settings.max_files if processor.max_files is None else processor.max_files,
            "timeout_s": processor.timeout_s or settings.job_timeout_s,
            "max_attempts": processor.max_attempts or settings.job_max_attempts,
            "memory_limit_bytes": _memory_limit_bytes(processor, settings),
            "max_concurrency": processor.max_concurrency,
        },
        available=processor.is_available,
        install=processor.install,
        links={"self": f"{PROCESSORS}/{processor.name}"},
    )


def _memory_limit_bytes(processor: Processor, settings: Settings) -> int | None:
    """Return what an attempt may use; on the event loop it shares the server's memory."""
    if processor.lane == "loop":
        return None
    return processor.memory_limit_bytes or settings.job_memory_limit_bytes
