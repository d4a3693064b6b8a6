"""Files on their way to the server: read from disk piece by piece, and counted as they go."""

import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
import httpx

from service.client.answers import FileChangedError

Moved = Callable[[int, int | None], None]
"""Called with how many bytes went over so far, and how many there are: None where nobody knows."""

_HEAD_BYTES = 4096  # of a file, to be looked at again


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that are not a file with a name, such as standard input."""

    name: str
    stream: BinaryIO


class Reader:
    """A stream of unknown length; with one of these httpx sends the form in chunks."""

    def __init__(self, name: str, stream: BinaryIO, shown: str) -> None:
        self.name = _text(name)
        self.size: int | None = None
        self.done = 0
        self.shown = shown
        self._stream = stream

    def read(self, limit: int) -> bytes:
        """Read up to `limit` bytes.

        Raises:
            OSError: they cannot be read; the error names the file.
        """
        try:
            piece = self._stream.read(limit)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), self.shown) from error
        if piece is None:
            raise OSError(errno.EAGAIN, "it has nothing to read now; give a stream that waits", self.shown)
        self.done += len(piece)
        return piece


class SizedReader(Reader):
    """A regular file, as long as it was when it was opened; httpx seeks its end to learn the length of the form.

    What is appended after the start is left out, so that a log that grows can be sent. Any other change is an error,
    before the last piece goes out: the server takes no body that is not whole.
    """

    def __init__(self, name: str, stream: BinaryIO, shown: str, head: bytes) -> None:
        super().__init__(name, stream, shown)
        self._head = head
        self._before = os.fstat(stream.fileno())
        self.size: int = self._before.st_size

    def tell(self) -> int:
        return self.done

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is only asked for, and then left again."""
        if whence == os.SEEK_END:
            return self.size
        self.done = self._stream.seek(offset)
        return offset

    def read(self, limit: int) -> bytes:
        """Read up to `limit` bytes.

        Raises:
            FileChangedError: it has become shorter, or other bytes are in it.
        """
        piece = super().read(min(limit, self.size - self.done))
        if self.done < self.size and not piece:
            raise FileChangedError(self.shown, f"it had {self.size} bytes, and ended after {self.done}")
        if self.done == self.size:
            self._require_unchanged()
        return piece

    def _require_unchanged(self) -> None:
        """Raise where something else was done to the file than to append to it, as far as that can be seen."""
        now = os.fstat(self._stream.fileno())
        is_touched = now.st_mtime_ns != self._before.st_mtime_ns
        if now.st_size < self.size:
            raise FileChangedError(self.shown, f"it had {self.size} bytes, and has {now.st_size}")
        if is_touched and (now.st_size == self.size or _head(self._stream, len(self._head)) != self._head):
            raise FileChangedError(self.shown, "other bytes were written into it")


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
        stack.enter_context(_wound_back(file.stream))
        return Reader(file.name, file.stream, file.name)
    file = Path(file)
    stream = stack.enter_context(file.open("rb"))
    try:
        found, head = os.fstat(stream.fileno()), b""
        if stat.S_ISREG(found.st_mode):
            head = _head(stream, _HEAD_BYTES)
            # the files of /proc and /sys have another length than they say
            if len(head) == min(found.st_size, _HEAD_BYTES):
                return SizedReader(file.name, stream, str(file), head)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    return Reader(file.name, stream, str(file))


def _head(stream: BinaryIO, limit: int) -> bytes:
    return os.pread(stream.fileno(), limit, 0)


@contextmanager
def _wound_back(stream: BinaryIO) -> Iterator[None]:
    """Put a stream back where it was when the block fails, so that it can be sent again; one from a pipe cannot be."""
    is_seekable = getattr(stream, "seekable", bool)  # it may be anything that can be read
    start = stream.tell() if is_seekable() else None
    try:
        yield
    except BaseException:
        if start is not None:
            stream.seek(start)
        raise


def _text(name: str) -> str:
    """Return the name as text that can be sent: file names on disk are bytes, and not always UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")
