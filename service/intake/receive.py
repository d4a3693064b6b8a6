"""From a request body to fields, and bytes that are durable in the storage."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from service.clock import Clock
from service.errors import (
    FieldTooLargeError,
    InvalidRequestError,
    TooManyPartsError,
)
from service.intake.incoming import Incoming, bounded, read_small
from service.intake.json_text import parse_json
from service.intake.multipart import Event, MultipartReader, PartBegin, PartData, PartEnd
from service.settings import Settings
from service.storage.base import Storage, Upload
from service.store.ids import new_id
from service.store.records import NewFile

MULTIPART, JSON = "multipart/form-data", "application/json"


@dataclass(slots=True)
class Received:
    """What a body held: fields as text or as JSON values, and files that are kept but have no row yet."""

    fields: dict[str, str] = field(default_factory=dict)
    values: Any = None
    files: list[NewFile] = field(default_factory=list)
    accepted: bool = False


BeforeFile = Callable[[Received], None]


def _no_check(_: Received) -> None:
    """Let every file in."""


class Receiver:
    """Reads bodies into the storage."""

    def __init__(self, storage: Storage, settings: Settings, clock: Clock) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock

    @asynccontextmanager
    async def receive(self, incoming: Incoming, before_file: BeforeFile = _no_check) -> AsyncIterator[Received]:
        """Give what the body holds; its files are deleted again unless `accepted` is set.

        `before_file` is called with what is known before each file is read, so that it may refuse early.
        """
        received = Received()
        try:
            await self._read(incoming, received, before_file)
            yield received
        finally:
            if received.files and not received.accepted:
                await self._storage.delete([file.id for file in received.files])

    async def _read(self, incoming: Incoming, received: Received, before_file: BeforeFile) -> None:
        kind = incoming.content_type.partition(";")[0].strip().lower()
        if kind == MULTIPART:
            await _FormReader(self, self._settings, received, before_file).read(incoming)
        elif kind == JSON and "processor" not in incoming.query and "filename" not in incoming.query:
            received.values = _parse_json(await read_small(incoming, self._settings))
        else:
            received.fields = {**incoming.query}
            await self._read_raw(incoming, received, before_file)

    async def _read_raw(self, incoming: Incoming, received: Received, before_file: BeforeFile) -> None:
        name = received.fields.pop("filename", "upload")
        before_file(received)
        async with self.upload() as (file_id, upload):
            async for piece in bounded(incoming, self._settings):
                await upload.write(piece)
            received.files.append(await self.keep(file_id, name, upload))

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[tuple[str, Upload]]:
        """Begin a file."""
        file_id = new_id()
        async with self._storage.upload(file_id) as upload:
            yield file_id, upload

    async def keep(self, file_id: str, name: str, upload: Upload) -> NewFile:
        """Make a file durable."""
        stored = await upload.keep()
        return NewFile(file_id, name, stored.media_type, stored.size_bytes, stored.sha256, created_at=self._clock.now())


class _FormReader:
    """Reads one multipart body."""

    def __init__(self, receiver: Receiver, settings: Settings, received: Received, before_file: BeforeFile) -> None:
        self._receiver = receiver
        self._settings = settings
        self._received = received
        self._before_file = before_file

    async def read(self, incoming: Incoming) -> None:
        self._reader = reader = MultipartReader(incoming.content_type, self._settings)
        events = (event async for piece in bounded(incoming, self._settings) for event in reader.feed(piece))
        async for event in events:
            if isinstance(event, PartBegin) and event.filename is not None:
                await self._read_file(event.name, event.filename, events)
            elif isinstance(event, PartBegin):
                await self._read_field(event.name, events)
        reader.close()

    async def _read_file(self, part: str, filename: str, events: AsyncIterator[Event]) -> None:
        if part != "file":
            raise InvalidRequestError(f"files belong in parts called `file`, not {part[:100]!r}")
        if len(self._received.files) >= self._settings.max_files:
            raise TooManyPartsError(f"a form may have {self._settings.max_files} files")
        self._before_file(self._received)
        async with self._receiver.upload() as (file_id, upload):
            async for data in _data_of(events, self._reader):
                await upload.write(data)
            self._received.files.append(await self._receiver.keep(file_id, filename, upload))

    async def _read_field(self, name: str, events: AsyncIterator[Event]) -> None:
        fields = self._received.fields
        if len(fields) >= self._settings.max_fields:
            raise TooManyPartsError(f"a form may have {self._settings.max_fields} fields")
        if name in fields:
            raise InvalidRequestError(f"the field {name[:100]!r} came twice")
        value = bytearray()
        async for data in _data_of(events, self._reader):
            value += data
            if len(value) > self._settings.max_field_bytes:
                raise FieldTooLargeError(f"a field may have {self._settings.max_field_bytes} bytes")
        fields[name] = value.decode("utf-8", errors="replace")


async def _data_of(events: AsyncIterator[Event], reader: MultipartReader) -> AsyncIterator[memoryview]:
    """Yield the data of the part that has begun; a body that ends first is an error."""
    async for event in events:
        match event:
            case PartData(data):
                yield data
            case PartEnd():
                return
    reader.close()


def _parse_json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except ValueError as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None
