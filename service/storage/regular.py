"""Opening what should be a file, and may have become something else: a pipe would hold the thread for ever."""

import errno
import os
import stat
from io import FileIO
from pathlib import Path

from service.errors import StorageFailedError
from service.naming import kind_of


class NoFileError(StorageFailedError):
    """Something else than a file is in its place; the detail says what."""


def open_regular(path: Path, *, follow: bool) -> FileIO:
    """Open a file to read it; a link is only followed when that is asked for.

    Raises:
        NoFileError: it is no file.
        OSError: the system refused.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what a socket says
            raise NoFileError("it is a socket, and no file") from error
        raise
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise NoFileError(f"it is {kind_of(mode)}, and no file")
    return os.fdopen(fd, "rb", buffering=0)
