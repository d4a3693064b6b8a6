"""What to do about each problem: the page behind its `type` (RFC 9457, section 3.1.1)."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from service.errors import FilemillError, NotFoundError, StartError, error_classes
from service.web.problems import PROBLEMS, problem_responses

router = APIRouter(prefix=PROBLEMS, tags=["problems"])

Code = Annotated[str, Path(description="the problem's `code`", examples=["invalid_params"])]

REMEDIES = {
    "bad_request": "Read the detail, correct the request, and send it again.",
    "malformed_multipart": "Let an HTTP library build the form and its Content-Type; the detail says where it broke.",
    "invalid_cursor": "Take `next_cursor` of the page before, or leave `cursor` away to begin anew.",
    "invalid_event_id": "Leave `Last-Event-ID` away, or send the `id` of an event of this server.",
    "client_disconnected": "Send the request again, whole; nothing of it was kept.",
    "upload_stalled": "Send the file again, without a pause longer than FILEMILL_UPLOAD_STALL_S.",
    "headers_stalled": "Send the whole head of the request at once.",
    "payload_too_large": "Send less, or have FILEMILL_MAX_UPLOAD_BYTES raised; FILEMILL_MAX_FIELD_BYTES limits JSON.",
    "field_too_large": "Send less in the field, or have the setting raised that limits it: FILEMILL_MAX_FIELD_BYTES, "
    "FILEMILL_MAX_PARAMS_BYTES or FILEMILL_MAX_METADATA_BYTES.",
    "too_many_parts": "Send fewer files or fields, or have FILEMILL_MAX_FILES or FILEMILL_MAX_FIELDS raised.",
    "part_headers_too_large": "Send fewer or shorter headers in it, or have FILEMILL_MAX_PART_HEADER_BYTES raised.",
    "request_headers_too_large": "Send a shorter address, and fewer or shorter headers.",
    "unsupported_content_type": "Send multipart/form-data, application/json, or the file itself as "
    "application/octet-stream.",
    "unsupported_encoding": "Send the bytes as they are, without Content-Encoding; the detail names the encoding.",
    "invalid_request": "Correct each field that `errors` names.",
    "invalid_params": "Correct each param that `errors` names; /v1/processors/{name} has their schema.",
    "wrong_file_count": "Send as many files as the detail says.",
    "media_type_not_accepted": "Send a file of a type that the detail names; what counts is its content.",
    "processor_unavailable": "Have the server's owner run the command that the detail names.",
    "unknown_file": "Upload the file to /v1/files first, and name the `id` of the answer.",
    "idempotency_key_reused": "Use a new key for a new request, and the same body for the same one.",
    "precondition_failed": "Look at the file's ETag anew, or leave If-Match and If-Unmodified-Since away.",
    "range_not_satisfiable": "Ask for a range that begins inside the file; Content-Range says how long it is.",
    "not_found": "Check the address; /docs lists all calls.",
    "method_not_allowed": "Use a method that the `Allow` header names.",
    "unknown_processor": "Choose a processor from /v1/processors.",
    "job_not_found": "Check the id. The job may have been deleted, or pruned after FILEMILL_RETENTION_S.",
    "file_not_found": "Check the id. The file may have been deleted, or pruned with its job.",
    "conflict": "Look at what is there now, and decide anew.",
    "wrong_state": "Look at the job's state; the detail says in which states this can be done.",
    "input_gone": "Submit the job again, with its files.",
    "file_in_use": "Wait for the job that needs the file, or cancel it.",
    "idempotency_key_in_flight": "Wait for the first request with the key, then send this one again.",
    "internal_error": "Try again later; the server's log says what went wrong.",
    "storage_failed": "Try again later; the server's owner should look at the disk, and at what was deleted on it.",
    "storage_full": "Try again later, when the server's disk has room again.",
    "file_changed": "Upload the file again; the server's owner should look at the disk, or restore a backup.",
    "database_unavailable": "Try again later; /readyz says when the database is back.",
    "not_working": "Have the server started anew; its log says what ended.",
    "shutting_down": "Try again when the server has started anew.",
}


class ProblemPage(BaseModel):
    """A kind of problem."""

    type: str = Field(examples=["/problems/invalid_params"])
    title: str = Field(examples=["The params do not fit the processor"])
    status: int = Field(examples=[422])
    code: str = Field(examples=["invalid_params"])
    what_to_do: str = Field(examples=[REMEDIES["invalid_params"]])


@router.get("/{code}", responses=problem_responses(NotFoundError))
async def get_problem(code: Code) -> ProblemPage:
    """Read what a problem means, and what to do about it: the `type` of each problem leads here."""
    found = answers().get(code)
    if found is None:
        raise NotFoundError(f"no answer of this server has the code {code[:100]!r}")
    return ProblemPage(
        type=f"{PROBLEMS}/{code}", title=found.title(), status=found.http_status, code=code, what_to_do=REMEDIES[code]
    )


def answers() -> dict[str, type[FilemillError]]:
    """Return the errors that a request may be answered with, by code; of kinds that share one, the general one."""
    found: dict[str, type[FilemillError]] = {}
    for one in error_classes():
        if not issubclass(one, StartError):
            found.setdefault(one.code, one)
    return found
