"""A request body on its way in, whatever brought it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from service.errors import PayloadTooLargeError, UploadStalledError
from service.intake.stall import StallWatch
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a submission is made of: what the client announced of the body, and its bytes."""

    content_type: str
    content_length: int | None
    query: Mapping[str, str]
    stream: AsyncIterator[bytes]
    idempotency_key: str | None = None
    filename: str | None = None


async def bounded(incoming: Incoming, settings: Settings) -> AsyncIterator[bytes]:
    """Yield the body while it keeps its limits.

    Raises:
        PayloadTooLargeError: it is longer than the server takes, by its own word or in fact.
        UploadStalledError: nothing arrived for too long.
    """
    _require_fit(incoming.content_length or 0, settings)
    received, pieces = 0, aiter(incoming.stream)
    with StallWatch(settings.upload_stall_s) as watch:
        while True:
            try:
                piece = await watch.next(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise UploadStalledError(
                    f"nothing arrived for {settings.upload_stall_s:g} s after {received} bytes; send the file again"
                ) from None
            received += len(piece)
            _require_fit(received, settings)
            if piece:
                yield piece


async def read_small(incoming: Incoming, settings: Settings) -> bytes:
    """Return a body that has to fit in memory, such as a JSON document."""
    body = bytearray()
    async for piece in bounded(incoming, settings):
        body += piece
        if len(body) > settings.max_field_bytes:
            raise PayloadTooLargeError(
                f"a JSON body may have {settings.max_field_bytes} bytes (FILEMILL_MAX_FIELD_BYTES)"
            )
    return bytes(body)


def _require_fit(size_bytes: int, settings: Settings) -> None:
    if size_bytes > settings.max_upload_bytes:
        raise PayloadTooLargeError(f"a body may have {settings.max_upload_bytes} bytes (FILEMILL_MAX_UPLOAD_BYTES)")
