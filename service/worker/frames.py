"""What the server and a child process say to each other, and how it looks on the wire.

A frame is four bytes of length, big-endian, and so many bytes of JSON: `{"Postponed": {"delay_s": 5.0}}`. The
key is the name of one of the dataclasses below. What a child sends is checked in full, because any code may
run in it.
"""

import asyncio
import json
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter

from service.processors.base import InputFile, LogNote, ProgressNote
from service.sizes import MOST_RESULT_BYTES
from service.worker.runner import Assignment, Broke, Postponed, Refused, Returned

MAX_FRAME_BYTES = 4 * 1024**2
LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Hello:
    """Server to child, once: where to import from, the user's own PYTHONPATH, which processors to load.

    No file that it writes, in any of its attempts, may become larger than `file_limit_bytes`.
    """

    path: list[str]
    python_path: str | None
    processors_spec: str
    file_limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Child to server, once: the processors are loaded. `pid` is the child's own; its keeper has another."""

    pid: int


@dataclass(frozen=True, slots=True)
class Work:
    """Server to child: an assignment, with the processor by its name. All paths are absolute."""

    job_id: str
    attempt: int
    max_attempts: int
    processor: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    files: tuple[InputFile, ...]
    folder: Path
    memory_limit_bytes: int | None
    result_limit_bytes: int = MOST_RESULT_BYTES


@dataclass(frozen=True, slots=True)
class Begun:
    """Child to server, before all else: the work has arrived. A child that does not say so is replaced."""

    job_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Spent:
    """Child to server, before the verdict: the attempt has changed the process, which is to be replaced."""

    changes: list[str]


Message = Hello | Ready | Work | Begun | Spent | ProgressNote | LogNote | Returned | Refused | Postponed | Broke

_KINDS: dict[str, TypeAdapter[Message]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (Hello, Ready, Work, Begun, Spent, ProgressNote, LogNote, Returned, Refused, Postponed, Broke)
}


class FrameError(Exception):
    """What came is not a frame."""


def work_of(assignment: Assignment) -> Work:
    """Return the assignment as a child is told of it."""
    return Work(
        job_id=assignment.job_id,
        attempt=assignment.attempt,
        max_attempts=assignment.max_attempts,
        processor=assignment.processor.name,
        params=assignment.params,
        metadata=assignment.metadata,
        files=tuple(_absolute(file) for file in assignment.files),
        folder=assignment.folder.absolute(),
        memory_limit_bytes=assignment.memory_limit_bytes,
        result_limit_bytes=assignment.result_limit_bytes,
    )


def pack(message: Message) -> bytes:
    """Return the frame.

    Raises:
        ValueError: the message holds what is not JSON.
    """
    kind = type(message).__name__
    body = b'{"%b":%b}' % (kind.encode(), _KINDS[kind].dump_json(message))
    return len(body).to_bytes(LENGTH_BYTES) + body


def unpack(body: bytes) -> Message:
    """Return the message of a frame's body.

    Raises:
        FrameError: it is not one.
    """
    try:
        [(kind, fields)] = json.loads(body, parse_constant=_refuse).items()
        if b"\\ud" in body.lower():  # half a surrogate pair could be neither stored nor sent
            json.dumps(fields, ensure_ascii=False).encode()
        return _KINDS[kind].validate_python(fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FrameError(f"a frame that cannot be read ({type(error).__name__})") from None


async def receive(reader: asyncio.StreamReader) -> Message:
    """Return the next message from a child.

    Raises:
        FrameError: it is malformed, or larger than `MAX_FRAME_BYTES`.
        asyncio.IncompleteReadError: the child has gone.
    """
    size_bytes = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
    if size_bytes > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {size_bytes} bytes")
    return unpack(await reader.readexactly(size_bytes))


class Channel:
    """The child's end: blocking, and safe to send on from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, frame: bytes) -> None:
        """Send a frame made by `pack`."""
        with self._lock:
            self._connection.sendall(frame)

    def receive(self) -> Message | None:
        """Return the next message, or None when the server has gone."""
        head = self._stream.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            return None
        size_bytes = int.from_bytes(head)
        body = self._stream.read(size_bytes)
        return unpack(body) if len(body) == size_bytes else None


def _absolute(file: InputFile) -> InputFile:
    """Return the file with a path that still holds in another working folder."""
    if file.path.is_absolute():
        return file
    return InputFile(file.id, file.name, file.media_type, file.size_bytes, file.sha256, file.path.absolute())


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
