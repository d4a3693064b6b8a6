"""One file on its way in, as a thread writes it.

The first 64 MiB go through the page cache, where a processor finds them a moment later. What follows is written past it
(O_DIRECT, open(2)): so much would push out what others use, and its pages cost more time to find than the disk takes.
"""

import errno
import fcntl
import hashlib
import mmap
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import IO

from service.sniff import HEAD_BYTES, sniff
from service.storage.base import StoredBytes

PIECE_BYTES = 1024 * 1024
DIRECT_FROM_BYTES = 64 * 1024 * 1024
_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux has it
_NOT_SO = {errno.EINVAL, errno.EOPNOTSUPP}  # what file systems say that know no other way than the cache
_FREE_BUFFERS = 4
Chunk = bytes | bytearray | memoryview


class IncomingFile:
    """Takes pieces of exactly 1 MiB, each in any number of chunks, and a last one of any size.

    A whole piece is copied into one of `buffers`, and hashed by `hashers` while it is written. The buffer goes back
    when both are done: an upload whose client is slow holds none.
    """

    def __init__(
        self,
        temporary: Path,
        target: Path,
        require_room: Callable[[int], None],
        hashers: Executor,
        buffers: "Buffers",
        *,
        durable: bool,
    ) -> None:
        self._temporary = temporary
        self._target = target
        self._require_room = require_room
        self._hashers = hashers
        self._durable = durable
        self._file: IO[bytes] | None = None
        self._buffers = buffers
        self._digest = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self._head = b""
        self._size_bytes = 0

    def write(self, chunks: list[Chunk]) -> None:
        """Append a whole piece."""
        self._prepare(chunks)
        piece = self._buffers.take()
        while chunks:
            piece.write(chunks.pop(0))
        assert piece.tell() == PIECE_BYTES  # noqa: S101 - the rest of the buffer belongs to another file
        if self._size_bytes == DIRECT_FROM_BYTES:
            _set_direct(self._opened, wanted=True)
        self._end_hashing()
        self._hashing = self._hashers.submit(self._digest.update, piece)
        self._append(piece)
        self._hashing.add_done_callback(lambda _: self._buffers.give_back(piece))

    def seal(self, chunks: list[Chunk]) -> StoredBytes:
        """Append the last piece, sync the file and give it its name."""
        self._prepare(chunks)
        if self._size_bytes > DIRECT_FROM_BYTES:
            _set_direct(self._opened, wanted=False)  # the end is no whole number of blocks
        self._end_hashing()
        for chunk in chunks:
            self._append(chunk)
            self._digest.update(chunk)
        publish(self._opened, self._temporary, self._target, durable=self._durable)
        return StoredBytes(self._size_bytes, self._digest.hexdigest(), sniff(self._head))

    def remove(self) -> None:
        """Close it and delete it under either name."""
        if self._file is not None:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            self._target.unlink(missing_ok=True)

    @property
    def _opened(self) -> IO[bytes]:
        assert self._file is not None  # noqa: S101 - whoever writes has opened it
        return self._file

    def _prepare(self, chunks: list[Chunk]) -> None:
        if self._file is None:
            self._file = self._temporary.open("xb", buffering=0)
            self._head = b"".join(chunks)[:HEAD_BYTES]
        self._require_room(self._file.fileno())

    def _end_hashing(self) -> None:
        if self._hashing is not None:
            self._hashing.result()

    def _append(self, chunk: Chunk | mmap.mmap) -> None:
        _write_whole(self._opened, chunk)
        self._size_bytes += len(chunk)


class Buffers:
    """Memory for pieces, lent to whoever writes one: whole pages, which is what writing past the cache asks for."""

    def __init__(self) -> None:
        self._free: deque[mmap.mmap] = deque(maxlen=_FREE_BUFFERS)  # threads may append to it and pop from it

    def take(self) -> mmap.mmap:
        """Return a buffer, to be written from its start."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = mmap.mmap(-1, PIECE_BYTES)
        buffer.seek(0)
        return buffer

    def give_back(self, buffer: mmap.mmap) -> None:
        """Take a buffer that nobody reads any more; beyond a few, one is dropped."""
        self._free.append(buffer)


def publish(file: IO[bytes], temporary: Path, target: Path, *, durable: bool) -> None:
    """Sync, close and rename. An fsync that fails is final: the pages may be gone, and a second one would lie."""
    os.fchmod(file.fileno(), 0o400)
    if durable:
        os.fsync(file.fileno())
    file.close()
    temporary.replace(target)


def _write_whole(file: IO[bytes], chunk: Chunk | mmap.mmap) -> None:
    """Write all of it: a raw write may take less, when a signal or a limit cuts it short."""
    view = memoryview(chunk)
    while view:
        try:
            view = view[file.write(view) :]
        except OSError as error:
            if error.errno not in _NOT_SO or not _set_direct(file, wanted=False):
                raise


def _set_direct(file: IO[bytes], *, wanted: bool) -> bool:
    """Write past the page cache or through it; return whether that changed. Some file systems know no other way."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    changed = flags | _DIRECT if wanted else flags & ~_DIRECT
    if changed == flags:
        return False
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, changed)
    except OSError as error:
        if error.errno not in _NOT_SO:
            raise
        return False
    return True
