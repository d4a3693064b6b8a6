"""Large files are hashed before parts of them are sent: each once for all who wait for it, and few at a time."""

import asyncio
import hashlib
import os
from functools import partial
from io import FileIO

from service.storage.base import Recorded
from service.storage.incoming_file import PIECE_BYTES
from service.storage.integrity import Integrity, Look
from service.storage.refusals import off_loop

_AT_ONCE = 4  # threads, of those by which the service also takes uploads and answers for its health


class Rehash:
    """Shares the hashes that are under way: who waits holds no thread. They belong to one event loop."""

    def __init__(self, integrity: Integrity) -> None:
        self._integrity = integrity
        self._under_way: dict[tuple[str, str, Look], asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def require(self, file: FileIO, recorded: Recorded, look: Look) -> None:
        """Return once a hash of the open file has shown that it is what was recorded.

        One that was begun before will do where nothing was done to the file since: the look is the same. It goes on
        when nobody waits for it any more.

        Raises:
            FileChangedError: it is not what was recorded.
        """
        which = (recorded.id, recorded.sha256, look)
        if (hashing := self._under_way.get(which)) is None:
            own = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)  # whoever came first may leave first
            hashing = self._under_way[which] = asyncio.create_task(self._hash(own, recorded, look))
            hashing.add_done_callback(partial(self._forget, which))
        await asyncio.shield(hashing)

    async def _hash(self, own: FileIO, recorded: Recorded, look: Look) -> None:
        async with self._turns:
            await off_loop(self._settle, own, recorded, look)

    def _settle(self, own: FileIO, recorded: Recorded, look: Look) -> None:
        with own:
            self._integrity.settle(own, recorded, look, _hash_of_all(own.fileno()))

    def _forget(self, which: tuple[str, str, Look], hashing: asyncio.Task[None]) -> None:
        del self._under_way[which]
        if not hashing.cancelled():
            hashing.exception()  # nobody may wait for it any more


def _hash_of_all(fd: int) -> str:
    """Return the SHA-256 of an open file, wherever others who share its place are reading."""
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(fd, PIECE_BYTES, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()
