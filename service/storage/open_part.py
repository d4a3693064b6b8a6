"""A part of a stored file that is open to be sent, piece by piece."""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from io import FileIO

from service.own_threads import in_own_thread
from service.storage.base import Recorded
from service.storage.incoming_file import PIECE_BYTES
from service.storage.integrity import Integrity, changed, look_at
from service.storage.refusals import off_loop
from service.storage.rehash import Rehash

_AT_ONCE_BYTES = 64 * 1024


class OpenPart:
    """The bytes of an open file from `start` up to `stop`; made and closed in a thread.

    What is recorded of the file is held against it at once. Where that leaves a grave doubt, `settle` is to be awaited
    first. Where it leaves another one, and the part is the whole, it is hashed while it is sent, each piece while the
    next is read; the last one is held back until the hash is known, or, of a file that was known to be sound, until a
    last look has shown that nobody wrote into it meanwhile.

    Raises:
        FileChangedError: it is not what was recorded.
    """

    def __init__(
        self, file: FileIO, start: int, stop: int | None, recorded: Recorded | None, integrity: Integrity
    ) -> None:
        self._file = file
        self._recorded = recorded
        self._integrity = integrity
        end = sys.maxsize if recorded is None else recorded.size_bytes
        self._left = min(end, sys.maxsize if stop is None else stop) - start
        self._first_look = look_at(file)
        by_part = 0 < self._left != end
        self._doubt = None if recorded is None else integrity.doubt(file, recorded, by_part=by_part)
        is_hashed = self._doubt is not None and not self._doubt.is_grave and self._left == end
        self._digest = hashlib.sha256() if is_hashed else None
        self._hashing: asyncio.Future[None] | None = None
        _ = file.seek(start)
        is_ready = 0 < self._left <= _AT_ONCE_BYTES and not (self._doubt and self._doubt.is_grave)
        self._ready = self._read(self._left) if is_ready else None

    async def settle(self, rehash: Rehash) -> None:
        """Have the whole file hashed, where it cannot be believed before.

        Raises:
            FileChangedError: it is not what was recorded.
        """
        if self._doubt is not None and self._doubt.is_grave and self._recorded is not None:
            await rehash.require(self._file, self._recorded, self._doubt.look)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes, 1 MiB at a time.

        Raises:
            FileChangedError: they are not what was recorded; the last piece is missing then.
        """
        while self._left > 0 and (piece := await self._next()):
            self._left -= len(piece)
            if self._digest is not None:
                await self._take(self._digest, piece)
            yield piece
        if self._left > 0 and self._recorded is not None:
            raise changed(self._recorded.id, f"it ended {self._left} bytes too early")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def _next(self) -> bytes:
        if self._ready is not None:
            piece, self._ready = self._ready, None
            return piece
        return await off_loop(self._read, min(self._left, PIECE_BYTES))

    def _read(self, size_bytes: int) -> bytes:
        """Read on; with the last piece, see that nobody wrote there meanwhile. What is hashed shows it anyway."""
        piece = self._file.read(size_bytes)
        if len(piece) == self._left and self._digest is None and self._recorded is not None:
            self._integrity.require_as(self._first_look, self._file, self._recorded)
        return piece

    async def _take(self, digest: "hashlib._Hash", piece: bytes) -> None:
        """Hash a piece, and judge after the last one."""
        if self._hashing is not None:
            await self._hashing
        self._hashing = in_own_thread(digest.update, piece)
        if self._left == 0 and self._doubt is not None and self._recorded is not None:
            await self._hashing
            self._integrity.settle(self._file, self._recorded, self._doubt.look, digest.hexdigest())
