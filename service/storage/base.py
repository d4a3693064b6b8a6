"""Where the bytes of files are kept.

Keys are file ids: they come from the service, never from a client, and have the shape that `new_id` makes.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """What the storage found out while it kept the bytes. `sha256` is in hexadecimal."""

    size_bytes: int
    sha256: str
    media_type: str


class Recorded(Protocol):
    """What was written down of stored bytes, under the key `id`: against this they are checked."""

    @property
    def id(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...


class Upload(Protocol):
    """Bytes on their way in."""

    @property
    def size_bytes(self) -> int:
        """How many bytes were written so far."""
        ...

    async def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes; returns late when the disk is slower than the sender.

        Raises:
            StorageFullError: no room is left.
            StorageFailedError: the storage refused.
        """
        ...

    async def keep(self) -> StoredBytes:
        """Make the bytes durable under their key; after this they survive a loss of power.

        Raises:
            StorageFullError, StorageFailedError: as for `write`; nothing is kept.
        """
        ...


class Storage(Protocol):
    """Keeps bytes by key."""

    def upload(self, key: str) -> AbstractAsyncContextManager[Upload]:
        """Begin to take bytes; what is not kept by the end leaves nothing behind."""
        ...

    async def adopt(self, key: str, path: Path) -> StoredBytes:
        """Make a finished local file durable under the key; the file is moved away.

        Whoever has it under another name, or open to write, has no hold on what is kept.
        """
        ...

    def open_part(
        self, key: str, start: int = 0, stop: int | None = None, recorded: Recorded | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the bytes from `start` up to `stop`: pieces of about 1 MiB, whole even if they are deleted meanwhile.

        Raises:
            StoredFileNotFoundError: there is nothing under the key.
            FileChangedError: the bytes are not those that were `recorded`; of a large file that may come in the place
                of its last piece.
            StorageFailedError: the storage refused.
        """
        ...

    def lend(self, recorded: Recorded, path: Path, *, reads_only: bool, go_on: Callable[[], None]) -> None:
        """Put the bytes at a path of the borrower's own, whatever becomes of that; it blocks.

        One that `reads_only` may get another name of the stored bytes. `go_on` is called now and then, and may raise.

        Raises:
            StoredFileNotFoundError: there is nothing under the key.
            FileChangedError: the bytes are not those that were recorded.
            StorageFullError, StorageFailedError: as for an upload.
        """
        ...

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete what is there under the keys; a key with nothing under it is no error.

        Raises:
            StorageFailedError: the storage refused one at least; all others are deleted nevertheless.
        """
        ...

    def list_keys(self) -> AsyncIterator[list[str]]:
        """Yield the keys of all that is kept, in pages and in no order."""
        ...

    def list_fresh(self) -> list[str]:
        """Return the keys that this process began to keep, and that are neither deleted nor confirmed.

        Such bytes may still be on their way to a row: they are nobody's only when they were never confirmed.
        """
        ...

    def confirm(self, keys: Iterable[str]) -> None:
        """Take note that these keys have their rows."""
        ...

    async def check(self) -> None:
        """Raise `StorageFullError` or `StorageFailedError` when nothing could be kept, or nothing adopted, now."""
        ...
