"""From a request body to fields, and bytes that are durable in the storage."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.clock import Clock
from service.errors import (
    FieldTooLargeError,
    InvalidRequestError,
    TooManyPartsError,
    UnsupportedContentTypeError,
)
from service.intake.charsets import charset_of, decode
from service.intake.incoming import Incoming, bounded, read_small
from service.intake.json_text import DoubledKeysError, parse_json
from service.intake.multipart import Event, MultipartReader, PartBegin, PartData, PartEnd
from service.intake.submission import JSON_FIELDS, ReadJson, Submission, doubled_fields, query_fields, read_json_field
from service.own_threads import in_own_thread
from service.settings import Settings
from service.storage.base import Storage, Upload
from service.store.ids import new_id
from service.store.records import NewFile

MULTIPART, JSON, URLENCODED = "multipart/form-data", "application/json", "application/x-www-form-urlencoded"
NAMELESS = "upload"
_SMALL_BYTES = 64 * 1024
_MOST_EMPTY_INPUTS = 1000
_Text = TypeVar("_Text", str, bytes)
_Parsed = TypeVar("_Parsed")
_CHARSET = "_charset_"
"""The field that names the charset of all that follow (RFC 7578, section 4.6)."""


@dataclass(slots=True)
class Received:
    """What a body held: fields as text or as JSON values, and files that are kept but have no row yet.

    `submission` is what the fields say, once it was asked for; `is_raw` when the body is the file itself, so that all
    fields are known before it is read.
    """

    fields: dict[str, str | ReadJson] = field(default_factory=dict)
    values: Any = None
    submission: Submission | None = None
    files: list[NewFile] = field(default_factory=list)
    is_raw: bool = False
    is_committed: bool = False

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Leave the files to the rows that the body of the `with` commits; an error says that there are none.

        Whoever is cancelled meanwhile cannot know. Then the files stay: a row without its bytes would be a job
        lost, and bytes without a row are swept away at the next start.
        """
        self.is_committed = True
        try:
            yield
        except Exception:
            self.is_committed = False
            raise


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
    async def receive(
        self, incoming: Incoming, before_file: BeforeFile = _no_check, *, takes_json: bool = True
    ) -> AsyncIterator[Received]:
        """Give what the body holds; its files are deleted again unless they were committed.

        `before_file` is called with what is known before each file is read, so that it may refuse early. Unless
        `takes_json`, a JSON document is a file like any other.
        """
        received = Received()
        try:
            await self._read(incoming, received, before_file, takes_json=takes_json)
            yield received
        finally:
            if received.files and not received.is_committed:
                await self._storage.delete([file.id for file in received.files])

    async def _read(self, incoming: Incoming, received: Received, before_file: BeforeFile, *, takes_json: bool) -> None:
        kind = incoming.content_type.partition(";")[0].strip().lower()
        if kind == MULTIPART:
            _require_no_query(incoming)
            await _FormReader(self, self._settings, received, before_file).read(incoming)
        elif kind == JSON and takes_json:
            _require_no_query(incoming)
            _require_utf_8(charset_of(incoming.content_type))
            received.values = await _parse_json(await read_small(incoming, self._settings))
        elif kind == URLENCODED:
            raise UnsupportedContentTypeError(
                f"{URLENCODED} cannot hold files; send {MULTIPART} (curl -F), {JSON}, or the file itself "
                "(curl -H 'Content-Type: application/octet-stream' --data-binary)"
            )
        elif kind.startswith("multipart/"):
            raise UnsupportedContentTypeError(
                f"{kind[:100]} is not read; send {MULTIPART}, {JSON}, or the file itself as application/octet-stream"
            )
        else:
            await self._read_raw(incoming, received, before_file)

    async def _read_raw(self, incoming: Incoming, received: Received, before_file: BeforeFile) -> None:
        received.fields, received.is_raw = query_fields(incoming.query), True
        name = incoming.query.get("filename") or incoming.filename or ""
        received.fields.pop("filename", None)
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
        return NewFile(
            id=file_id,
            name=name or NAMELESS,
            media_type=stored.media_type,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
            created_at=self._clock.now(),
        )


class _FormReader:
    """Reads one multipart body."""

    def __init__(self, receiver: Receiver, settings: Settings, received: Received, before_file: BeforeFile) -> None:
        self._receiver = receiver
        self._settings = settings
        self._received = received
        self._before_file = before_file
        self._charset: str | None = None
        self._empty_inputs = 0

    async def read(self, incoming: Incoming) -> None:
        self._reader = reader = MultipartReader(incoming.content_type, self._settings)
        events = (event async for piece in bounded(incoming, self._settings) for event in reader.feed(piece))
        async for event in events:
            if isinstance(event, PartBegin) and event.filename is not None:
                await self._read_file(event.name, event.filename, events)
            elif isinstance(event, PartBegin):
                await self._read_field(event.name, event.charset or self._charset or "utf-8", events)
        reader.close()

    async def _read_file(self, part: str, filename: str, events: AsyncIterator[Event]) -> None:
        pieces = _data_of(events, self._reader)
        first = b"" if filename else await anext(pieces, None)
        if first is None:  # what a browser sends of an input in which no file was chosen
            self._empty_inputs += 1
            if self._empty_inputs > _MOST_EMPTY_INPUTS:
                raise TooManyPartsError(f"a form may have {_MOST_EMPTY_INPUTS} inputs without a file")
            return
        if part != "file":
            raise InvalidRequestError(f"files belong in parts called `file`, not {part[:100]!r}")
        if len(self._received.files) >= self._settings.max_files:
            raise TooManyPartsError(f"a form may have {self._settings.max_files} files")
        self._before_file(self._received)
        async with self._receiver.upload() as (file_id, upload):
            if first:
                await upload.write(first)
            async for data in pieces:
                await upload.write(data)
            self._received.files.append(await self._receiver.keep(file_id, filename, upload))

    async def _read_field(self, name: str, charset: str, events: AsyncIterator[Event]) -> None:
        fields = self._received.fields
        if name == "file":
            raise InvalidRequestError(
                "a part called `file` has no filename, so it is a field and no file; give it one "
                "(curl -F file=@PATH does; -F file=PATH and -F 'file=<PATH' do not)"
            )
        if len(fields) >= self._settings.max_fields:
            raise TooManyPartsError(f"a form may have {self._settings.max_fields} fields")
        if name in fields or (name == _CHARSET and self._charset is not None):
            raise InvalidRequestError(f"the field {name[:100]!r} came twice")
        value = bytearray()
        async for data in _data_of(events, self._reader):
            value += data
            if len(value) > self._settings.max_field_bytes:
                raise FieldTooLargeError(f"a field may have {self._settings.max_field_bytes} bytes")
        if name == _CHARSET:
            self._charset = _decode(name, value, "utf-8").strip() or "utf-8"
            return
        text = _decode(name, value, charset)
        fields[name] = await _quickly(read_json_field, text) if name in JSON_FIELDS else text
        self._received.submission = None


async def _data_of(events: AsyncIterator[Event], reader: MultipartReader) -> AsyncIterator[memoryview]:
    """Yield the data of the part that has begun; a body that ends first is an error."""
    async for event in events:
        match event:
            case PartData(data):
                yield data
            case PartEnd():
                return
    reader.close()


def _require_no_query(incoming: Incoming) -> None:
    """Refuse what would be overlooked."""
    if incoming.query:
        names = ", ".join(name[:100] for name in incoming.query)
        raise InvalidRequestError(
            f"in the query: {names}; with this Content-Type every field belongs in the body. "
            "To submit a JSON document as the file, send it as application/octet-stream or in a form"
        )


def _decode(name: str, value: bytearray, charset: str) -> str:
    try:
        return decode(value, charset)
    except LookupError:
        raise UnsupportedContentTypeError(
            f"the field {name[:100]!r} is in the charset {charset[:100]!r}, which is not read; send it as UTF-8"
        ) from None
    except UnicodeDecodeError as error:
        word = "UTF-8" if charset.lower() == "utf-8" else charset
        raise InvalidRequestError(f"the field {name[:100]!r} is not {word} at byte {error.start}") from None


def _require_utf_8(charset: str | None) -> None:
    """Refuse JSON that says that it is something else (RFC 8259, section 8.1)."""
    if charset is not None and charset.lower() not in {"utf-8", "utf8", "us-ascii", "ascii"}:
        raise UnsupportedContentTypeError(f"JSON in the charset {charset[:100]!r} is not read; send it as UTF-8")


async def _parse_json(body: bytes) -> Any:
    try:
        value = await _quickly(parse_json, body)
    except DoubledKeysError as error:
        raise InvalidRequestError(f"not valid: {error}", errors=doubled_fields(error)) from None
    except ValueError as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None
    if value is None:
        raise InvalidRequestError("not valid: the body must be a JSON object, and not null")
    return value


async def _quickly(parse: Callable[[_Text], _Parsed], text: _Text) -> _Parsed:
    """Parse a text: beside the event loop where it may take long."""
    return parse(text) if len(text) <= _SMALL_BYTES else await in_own_thread(parse, text)
