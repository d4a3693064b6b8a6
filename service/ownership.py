"""One server to a data folder: whoever holds the lock owns it."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.durable_folder import make_folder
from service.errors import DataDirLockedError, StartError
from service.forks import in_each_fork


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Own the folder, making it if need be. The kernel lets go when the process ends, however it ends.

    Raises:
        DataDirLockedError: another process owns it; the error names that process.
        StartError: the folder cannot be made or written, or its path is no text.
    """
    _require_text(data_dir)
    try:
        make_folder(data_dir)
        file = (data_dir / "filemill.lock").open("a+")
    except OSError as error:
        raise StartError(f"the data folder {data_dir} cannot be used: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DataDirLockedError(
                f"the data folder {data_dir} belongs to the server with process id {_owner(file.read())}; "
                "stop that server, or name another folder with --data-dir"
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid()}))
        file.flush()
        with in_each_fork(file.close):  # the lock is held as long as anybody has the file
            yield


def _require_text(data_dir: Path) -> None:
    """Refuse a path that is not UTF-8: what processors are given, and what is logged, is JSON."""
    try:
        str(data_dir.absolute()).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(data_dir).decode("utf-8", "backslashreplace")
        raise StartError(f"the path of the data folder {shown} is not UTF-8; name another with --data-dir") from None


def _owner(text: str) -> str:
    try:
        return str(json.loads(text)["pid"])
    except (ValueError, KeyError, TypeError):
        return "unknown"
