"""/v1/files: store, list, look, download, delete."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.errors import (
    BadRequestError,
    FileChangedError,
    FileInUseError,
    InvalidCursorError,
    InvalidRequestError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    StorageFailedError,
    StoredFileNotFoundError,
)
from service.intake.submission import QueryInstant
from service.runtime import Runtime
from service.store.files import FileFilter
from service.store.models import File
from service.web.bodies import STORE_FILE, answer_headers
from service.web.download import Part, content_headers, is_current, part_of, require_wanted
from service.web.head import HEAD_ONLY
from service.web.problems import BODY_ERRORS, CHANGE_ERRORS, LOOK_ERRORS, problem_responses
from service.web.requests import FileId, Service, cursor_of, incoming_of, refuse_doubled_query
from service.web.schemas import FILES, FilePage, FileView, file_view
from service.web.streaming import ImpatientResponse

router = APIRouter(prefix=FILES, tags=["files"])


async def _closed_after_the_answer() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


Opened = Annotated[AsyncExitStack, Depends(_closed_after_the_answer)]

_NOTHING = Part(0, 0)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SENT = answer_headers(
    ETag="the SHA-256 of the whole file, a strong validator",
    Last_Modified="when the file was stored; it never changes",
    Content_Disposition="`attachment`, with the file's name (RFC 6266)",
    Accept_Ranges="`bytes`",
)
_CONDITIONS: dict[str, Any] = {
    "parameters": [
        {
            "name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": text,
            "example": example,
        }
        for name, text, example in (
            ("Range", "one range of bytes; anything else is ignored", "bytes=0-1023"),
            ("If-Range", "the range counts only for the file with this `ETag` or `Last-Modified`", '"9f86d081"'),
            ("If-None-Match", "304 for the file with one of these `ETag`s", '"9f86d081"'),
            ("If-Match", "412 for the file with none of these `ETag`s", '"9f86d081"'),
            ("If-Modified-Since", "304 unless it was stored later", "Sat, 31 Jan 2026 12:00:00 GMT"),
            ("If-Unmodified-Since", "412 if it was stored later", "Sat, 31 Jan 2026 12:00:00 GMT"),
        )
    ]
}  # fmt: skip


class FileListing(BaseModel):
    """Which files to list."""

    model_config = ConfigDict(extra="forbid")

    unused: bool | None = Field(None, description="whether it was stored for itself, and no job has it")
    created_after: QueryInstant | None = Field(None, description="its upload began at this instant or later")
    created_before: QueryInstant | None = Field(None, description="its upload began before this instant")
    limit: int = Field(50, ge=1, le=500, description="most files on a page")
    cursor: str | None = Field(None, description="`next_cursor` of the page before")


@router.post(
    "",
    status_code=201,
    openapi_extra=STORE_FILE,
    responses={
        201: answer_headers(Location="where the file is", Idempotency_Replayed="`true` for a first answer given again"),
        **problem_responses(*BODY_ERRORS),
    },
)
async def store_file(request: Request, response: Response, service: Service) -> FileView:
    """Store a file without processing it: jobs may name it. It stays until it is deleted, or unused for too long."""
    kept = await service.intake.keep(incoming_of(request))
    response.headers["Location"] = f"{FILES}/{kept.file.id}"
    if kept.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return file_view(kept.file)


@router.get(
    "",
    dependencies=[Depends(refuse_doubled_query)],
    responses=problem_responses(BadRequestError, InvalidCursorError, InvalidRequestError, *LOOK_ERRORS),
)
async def list_files(listing: Annotated[FileListing, Query()], service: Service) -> FilePage:
    """List files, the newest first; a page ends early where the names are long."""
    wanted = FileFilter(
        unused=listing.unused,
        created_after=listing.created_after,
        created_before=listing.created_before,
        before_id=cursor_of(listing.cursor),
        limit=listing.limit,
    )
    page, more = await service.files.list_page(wanted)
    return FilePage(items=[file_view(one) for one in page], next_cursor=page[-1].id if more else None)


@router.get("/{file_id}", responses=problem_responses(StoredFileNotFoundError, *LOOK_ERRORS))
async def get_file(file_id: FileId, service: Service) -> FileView:
    """Look at a file."""
    return file_view(await service.files.get(file_id))


@router.get(
    "/{file_id}/content",
    response_class=Response,
    openapi_extra=_CONDITIONS,
    responses={
        200: {"description": "the bytes", "content": {"*/*": _BINARY}, **_SENT},
        206: {"description": "the range asked for", "content": {"*/*": _BINARY}, **_SENT},
        304: {"description": "the client has these bytes already (`If-None-Match`)"},
        **problem_responses(
            StoredFileNotFoundError,
            PreconditionFailedError,
            RangeNotSatisfiableError,
            StorageFailedError,
            FileChangedError,
            *LOOK_ERRORS,
        ),
    },
)
async def download(file_id: FileId, request: Request, service: Service, opened: Opened) -> Response:
    """Download a file, or one range of it (RFC 9110)."""
    file = await service.files.get(file_id)
    headers = content_headers(file)
    require_wanted(request.headers, headers)
    if is_current(request.headers, headers):
        await _open_part(service, file, _NOTHING, opened)  # bytes that have changed are not current
        return Response(status_code=304, headers=headers)
    part = part_of(request.headers, headers, file.size_bytes) or Part(0, file.size_bytes, partial=False)
    headers |= part.headers(file.size_bytes)
    sent = _NOTHING if request.scope.get(HEAD_ONLY) else part  # so that nothing is hashed for its sake
    pieces = await _open_part(service, file, sent, opened)
    return ImpatientResponse(pieces, part.status, headers, media_type=file.media_type)


@router.delete(
    "/{file_id}",
    status_code=204,
    responses=problem_responses(StoredFileNotFoundError, FileInUseError, StorageFailedError, *CHANGE_ERRORS),
)
async def delete_file(file_id: FileId, service: Service) -> None:
    """Delete a file that no unfinished job needs."""
    await service.control.delete_file(file_id)


async def _open_part(service: Runtime, file: File, part: Part, opened: AsyncExitStack) -> AsyncIterator[bytes]:
    """Open the bytes before anything is promised of them.

    Raises:
        StoredFileNotFoundError: the file was deleted meanwhile.
        FileChangedError: its bytes are not those that were uploaded.
        StorageFailedError: it was not deleted, and yet its bytes are gone.
    """
    try:
        return await opened.enter_async_context(service.storage.open_part(file.id, part.start, part.stop, file))
    except StoredFileNotFoundError as error:
        await service.files.get(file.id)
        raise StorageFailedError(error.detail) from error
