"""Files on their way to the server: read from disk piece by piece, and counted as they go."""

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
import httpx

Moved = Callable[[int, int | None], None]
"""Called with how many bytes went over so far, and how many there are: None where nobody knows."""


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that are not a file with a name, such as standard input."""

    name: str
    stream: BinaryIO


class Reader:
    """A stream of unknown length; with one of these httpx sends the form in chunks."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = _text(name)
        self.size: int | None = None
        self.done = 0
        self._stream = stream

    def read(self, limit: int) -> bytes:
        piece = self._stream.read(limit)
        self.done += len(piece)
        return piece


class SizedReader(Reader):
    """A regular file; httpx asks for `fileno` to learn the length of the form.

    What is appended after the start is left out, so that a log that grows can be sent.
    """

    def __init__(self, name: str, stream: BinaryIO) -> None:
        super().__init__(name, stream)
        self.size = self._left = os.fstat(stream.fileno()).st_size

    def fileno(self) -> int:
        return self._stream.fileno()

    def read(self, limit: int) -> bytes:
        piece = super().read(min(limit, self._left))
        self._left -= len(piece)
        return piece


class CountedStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a request; it says how far the files are, and on an event loop it reads them in threads."""

    def __init__(self, body: httpx.SyncByteStream, readers: Sequence[Reader], on_progress: Moved | None) -> None:
        self._body = body
        self._readers = readers
        self._on_progress = on_progress
        self._told = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body:
            self._tell()
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._body)
        while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            self._tell()
            yield piece

    def _tell(self) -> None:
        done = sum(reader.done for reader in self._readers)
        if self._on_progress is not None and done > self._told:
            self._told = done
            self._on_progress(done, total_size(self._readers))


def open_readers(files: Sequence[Path | Source], stack: ExitStack) -> list[Reader]:
    """Open all files, to be read once; the stack closes them.

    Raises:
        OSError: one cannot be opened.
    """
    return [_reader(one, stack) for one in files]


def total_size(readers: Sequence[Reader]) -> int | None:
    """Return the bytes of all files together, or None where one of them is a stream."""
    sizes = [reader.size for reader in readers if reader.size is not None]
    return sum(sizes) if len(sizes) == len(readers) else None


def _reader(file: Path | Source, stack: ExitStack) -> Reader:
    if isinstance(file, Source):
        return Reader(file.name, file.stream)
    stream = stack.enter_context(file.open("rb"))
    regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    return (SizedReader if regular else Reader)(file.name, stream)


def _text(name: str) -> str:
    """Return the name as text that can be sent: file names on disk are bytes, and not always UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")
