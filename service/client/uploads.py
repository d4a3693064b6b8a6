"""Files on their way to the server: read from disk piece by piece, and counted as they go."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
        self._stream = stream
        self.on_read: Callable[[int], None] = lambda _count: None

    def read(self, limit: int) -> bytes:
        piece = self._stream.read(limit)
        self.on_read(len(piece))
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


@contextmanager
def open_readers(files: Sequence[Path | Source], on_progress: Moved | None) -> Iterator[list[Reader]]:
    """Open all files, to be read once.

    Raises:
        OSError: one cannot be opened.
    """
    with ExitStack() as stack:
        readers = [_reader(one, stack) for one in files]
        if on_progress is not None:
            _count(readers, on_progress)
        yield readers


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


def _count(readers: Sequence[Reader], on_progress: Moved) -> None:
    total, done = total_size(readers), 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, total)

    for reader in readers:
        reader.on_read = add


def _text(name: str) -> str:
    """Return the name as text that can be sent: file names on disk are bytes, and not always UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")
