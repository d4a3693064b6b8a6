"""One file on its way in, seen from the event loop."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from service.storage.base import StoredBytes
from service.storage.incoming_file import PIECE_BYTES, Chunk, IncomingFile
from service.storage.refusals import off_loop

_SMALL_BYTES = 4096
_WRITING_AND_WAITING = 2


class LocalUpload:
    """Gathers pieces of 1 MiB, each written and hashed in a thread while the next ones arrive.

    No more than three are in memory, and copies of two: one is written, one waits, so that neither the disk nor the
    client has to, and one arrives. A small file is one piece: written, hashed, synced and renamed in one go.
    """

    def __init__(self, file: IncomingFile, sync_folder: Callable[[], Awaitable[None]]) -> None:
        self._file = file
        self._sync_folder = sync_folder
        self._chunks: list[Chunk] = []
        self._room = PIECE_BYTES
        self._pending: deque[asyncio.Task[StoredBytes | None]] = deque()
        self.is_kept = False
        self.size_bytes = 0

    async def write(self, chunk: bytes | memoryview) -> None:
        self.size_bytes += len(chunk)
        while len(chunk) >= self._room:
            rest = memoryview(chunk)[self._room :]
            self._gather(memoryview(chunk)[: self._room])
            if len(self._pending) == _WRITING_AND_WAITING:
                await self._first()
            self._begin(self._file.write)
            chunk = rest
        if chunk:
            self._gather(chunk)

    async def keep(self) -> StoredBytes:
        self._begin(self._file.seal)
        stored = None
        while self._pending:
            stored = await self._first()
        assert stored is not None  # noqa: S101 - seal returned it
        await self._sync_folder()
        self.is_kept = True
        return stored

    async def discard(self) -> None:
        """Close, and delete what was written; why writing it failed has been told before."""
        if self._pending:
            await asyncio.wait(self._pending)
        for task in self._pending:
            task.exception()  # it has been seen
        await off_loop(self._file.remove)

    def _gather(self, chunk: bytes | memoryview) -> None:
        """Hold a chunk without copying it, unless it is so small that holding it costs more."""
        self._room -= len(chunk)
        if len(chunk) >= _SMALL_BYTES:
            self._chunks.append(chunk)
        elif self._chunks and isinstance(self._chunks[-1], bytearray):
            self._chunks[-1] += chunk
        else:
            self._chunks.append(bytearray(chunk))

    def _begin(self, step: Callable[[list[Chunk]], StoredBytes | None]) -> None:
        chunks, self._chunks, self._room = self._chunks, [], PIECE_BYTES
        before = self._pending[-1] if self._pending else None
        self._pending.append(asyncio.create_task(_after(before, step, chunks)))

    async def _first(self) -> StoredBytes | None:
        """Wait for the thread. It cannot be stopped: whoever is cancelled here leaves it to `discard` to wait."""
        stored = await asyncio.shield(self._pending[0])
        _ = self._pending.popleft()
        return stored


async def _after(
    before: asyncio.Task[StoredBytes | None] | None,
    step: Callable[[list[Chunk]], StoredBytes | None],
    chunks: list[Chunk],
) -> StoredBytes | None:
    """Take a step once the one before has succeeded; otherwise fail as it did."""
    if before is not None:
        await before
    return await off_loop(step, chunks)
