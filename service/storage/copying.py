"""Copies and second names of files, made as cheaply as the file system allows."""

import errno
import fcntl
import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path

_FICLONE = 0x40049409  # ioctl_ficlonerange(2): the blocks are shared until one of the two is written to
_TO_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_STEP_BYTES = 32 * 1024 * 1024
_NO_SECOND_NAME = {
    errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL,
}  # fmt: skip
_NO_RANGES = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF}


def nothing() -> None:
    """Go on."""


def link(source: Path, target: Path) -> bool:
    """Give a file a second name; False where that cannot be, as on another file system.

    Nor is it done where somebody could write through that name: to a file whose mode lets them, or to where a link
    leads.
    """
    try:
        mode = source.lstat().st_mode
        if stat.S_ISLNK(mode) or stat.S_IMODE(mode) & _TO_WRITE:
            return False
        os.link(source, target)
    except OSError as error:
        if error.errno in _NO_SECOND_NAME:
            return False
        raise
    return True


def copy(
    source: int, target: Path, *, before: Callable[[int], None] | None = None, go_on: Callable[[], None] = nothing
) -> None:
    """Copy the whole of an open file into a new one, which only its owner may read and write.

    Where the file system can, the two share their blocks, and it costs nothing. Else `before` is called with the
    target, and `go_on` before each 32 MiB; either may raise. What was begun is left to the caller to remove.
    """
    with os.fdopen(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        if _share_blocks(source, file.fileno()):
            return
        if before is not None:
            before(file.fileno())
        while _copy_step(source, file.fileno()):
            go_on()


def is_shared(fd: int) -> bool:
    """Whether the bytes of a file opened to read may still change: by another name, or by who has it open to write.

    The second is asked by a lease (fcntl(2)), which is refused for a file that is open to write; where there are no
    leases, as on a file system of the network, only the names count.
    """
    if os.fstat(fd).st_nlink > 1:
        return True
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # who opens it just now is no reason to end, as SIGIO would be
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except AttributeError:  # not Linux
        return False
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _share_blocks(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:  # whatever it is, a copy will tell
        return False
    return True


def _copy_step(source: int, target: int) -> bool:
    """Copy on from where both files are; False at the end."""
    try:
        return os.copy_file_range(source, target, _STEP_BYTES) > 0
    except AttributeError:  # not Linux
        _copy_rest(source, target)
    except OSError as error:
        if error.errno not in _NO_RANGES:
            raise
        _copy_rest(source, target)
    return False


def _copy_rest(source: int, target: int) -> None:
    with os.fdopen(source, "rb", closefd=False) as reader, os.fdopen(target, "wb", closefd=False) as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
