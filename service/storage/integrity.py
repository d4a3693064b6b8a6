"""Whether stored bytes are still those that were recorded.

A stored file is written once. So one of another size has changed; one that was written after its row, or that nobody
has read yet and that is small, is hashed before it is believed; a large one is hashed while it is sent. Of its times,
the last change is the only one that nobody can set back, and a second name moves it just as a write does.
"""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from io import FileIO
from typing import NamedTuple

import structlog

from service.errors import FileChangedError
from service.storage.base import Recorded

SMALL_BYTES = 1024 * 1024
_REMEMBERED = 4096
_SETTLED_NS = 2_000_000_000  # a change within one tick of the file system's clock would not show

log = structlog.get_logger()


class Look(NamedTuple):
    """What cannot stay the same when the bytes change; taken before they are read."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @property
    def is_old(self) -> bool:
        """Whether a change after it would have shown, by the clock that file systems go by."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME) - self.changed_ns > _SETTLED_NS


class Doubt(NamedTuple):
    """What is open about a file after a look; `is_grave` where it has to be hashed before any of it is sent."""

    look: Look
    is_grave: bool


def look_at(file: FileIO) -> Look:
    """Look at an open file."""
    stat = os.fstat(file.fileno())
    return Look(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def hash_of(file: FileIO) -> str:
    """Return the SHA-256 of all that follows in an open file."""
    return hashlib.file_digest(file, "sha256").hexdigest()


class Integrity:
    """Remembers which files it found sound, until anything about them changes: threads may ask at once."""

    def __init__(self) -> None:
        self._sound: OrderedDict[str, Look] = OrderedDict()
        self._lock = threading.Lock()

    def doubt(self, file: FileIO, recorded: Recorded, *, by_part: bool = False) -> Doubt | None:
        """Look at an open file; None when its bytes are known to be those that were recorded. A small one is read.

        Of one that is read only `by_part`, nothing else will tell: a large one, too, is hashed before it is believed,
        unless nothing at all was done to it since its row. A new name counts; so would a time that was set back.

        Raises:
            FileChangedError: it is not what was recorded.
        """
        look = look_at(file)
        if look.size_bytes != recorded.size_bytes:
            raise changed(recorded.id, f"it has {look.size_bytes} bytes, and {recorded.size_bytes} were recorded")
        if self._knows(recorded.id, look):
            return None
        last_ns = look.changed_ns if by_part else look.modified_ns
        is_late = last_ns > recorded.created_at.timestamp() * 1e9
        if look.size_bytes > SMALL_BYTES:
            return Doubt(look, is_late)
        self.settle(file, recorded, look, hash_of(file))
        return None

    def require(self, file: FileIO, recorded: Recorded) -> None:
        """Look at an open file that is to be read as a whole, and read it first where there is a grave doubt.

        Raises:
            FileChangedError: it is not what was recorded.
        """
        doubt = self.doubt(file, recorded)
        if doubt is not None and doubt.is_grave:
            self.settle(file, recorded, doubt.look, hash_of(file))

    def require_as(self, before: Look, file: FileIO, recorded: Recorded) -> None:
        """Read it again if it was written to since the look `before`; a second name, or its end, is no such thing.

        Raises:
            FileChangedError: it is not what was recorded, or not any more.
        """
        look = look_at(file)
        if look[:3] != before[:3]:
            _ = file.seek(0)
            self.settle(file, recorded, look, hash_of(file))

    def settle(self, file: FileIO, recorded: Recorded, look: Look, sha256: str) -> None:
        """Take note of the hash of all that was read since the `look`.

        Raises:
            FileChangedError: it is not the hash that was recorded.
        """
        if sha256 != recorded.sha256:
            raise changed(recorded.id, f"its SHA-256 is {sha256}, and {recorded.sha256} was recorded")
        if look.is_old and look_at(file) == look:
            self._remember(recorded.id, look)

    def _knows(self, key: str, look: Look) -> bool:
        with self._lock:
            return self._sound.get(key) == look

    def _remember(self, key: str, look: Look) -> None:
        with self._lock:
            self._sound[key] = look
            self._sound.move_to_end(key)
            if len(self._sound) > _REMEMBERED:
                self._sound.popitem(last=False)


def changed(key: str, why: str) -> FileChangedError:
    """Return the error, and tell the server's owner."""
    log.error("stored file has changed", file_id=key, reason=why)
    return FileChangedError(f"the stored bytes of the file {key} are not those that were uploaded: {why}")
