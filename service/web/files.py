"""/v1/files: store, look, download, delete."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from service.errors import (
    FileInUseError,
    InvalidRequestError,
    MalformedMultipartError,
    PayloadTooLargeError,
    RangeNotSatisfiableError,
    StorageFailedError,
    StorageFullError,
    StoredFileNotFoundError,
    UploadStalledError,
)
from service.web.download import Part, content_headers, is_current, part_of
from service.web.problems import problem_responses
from service.web.requests import Service, incoming_of
from service.web.schemas import FILES, FileView, file_view

router = APIRouter(prefix=FILES, tags=["files"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": _BINARY,
        },
    },
    "parameters": [
        {
            "name": "filename", "in": "query", "required": False, "schema": {"type": "string"},
            "description": "the file's name, where the body is the file itself",
        },
        {"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}},
    ],
}  # fmt: skip


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    responses=problem_responses(
        MalformedMultipartError,
        UploadStalledError,
        PayloadTooLargeError,
        InvalidRequestError,
        StorageFailedError,
        StorageFullError,
    ),
)
async def store_file(request: Request, response: Response, service: Service) -> FileView:
    """Store a file without processing it; it stays until it is deleted, and jobs may name it."""
    kept = await service.intake.keep(incoming_of(request))
    response.headers["Location"] = f"{FILES}/{kept.file.id}"
    if kept.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return file_view(kept.file)


@router.get("/{file_id}", responses=problem_responses(StoredFileNotFoundError))
async def get_file(file_id: str, service: Service) -> FileView:
    """Look at a file."""
    return file_view(await service.files.get(file_id))


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses={
        200: {"description": "the bytes", "content": {"application/octet-stream": _BINARY}},
        206: {"description": "the range asked for", "content": {"application/octet-stream": _BINARY}},
        304: {"description": "the client has these bytes already (`If-None-Match`)"},
        **problem_responses(StoredFileNotFoundError, RangeNotSatisfiableError),
    },
)
@router.head("/{file_id}/content", include_in_schema=False)
async def download(file_id: str, request: Request, service: Service) -> Response:
    """Download a file, or one range of it (RFC 9110)."""
    file = await service.files.get(file_id)
    headers = content_headers(file)
    if is_current(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    part = part_of(request.headers, headers["ETag"], file.size_bytes) or Part(0, file.size_bytes, partial=False)
    headers |= part.headers(file.size_bytes)
    if request.method == "HEAD":
        return Response(status_code=part.status, headers=headers, media_type=file.media_type)
    pieces = service.storage.read(file.id, part.start, part.stop)
    return StreamingResponse(pieces, part.status, headers, media_type=file.media_type)


@router.delete("/{file_id}", status_code=204, responses=problem_responses(StoredFileNotFoundError, FileInUseError))
async def delete_file(file_id: str, service: Service) -> None:
    """Delete a file that no unfinished job needs."""
    await service.control.delete_file(file_id)
