"""Whether the database file is still the one that was opened.

SQLite writes on into a file that was deleted or replaced, and what it commits there is gone with the process. So
every transaction looks once more before it commits: https://www.sqlite.org/howtocorrupt.html, section 2.4.
"""

from pathlib import Path

from service.errors import DatabaseUnavailableError


class Presence:
    """Remembers which files were seen first under the names of a database and its write-ahead log."""

    def __init__(self, path: Path) -> None:
        self._paths = (path, path.with_name(path.name + "-wal"))
        self._seen: dict[Path, tuple[int, int]] = {}

    def require(self) -> None:
        """Raise `DatabaseUnavailableError` when one of them is no longer there, or is another file."""
        for path in self._paths:
            found = _identity(path)
            if found is None or self._seen.setdefault(path, found) != found:
                raise DatabaseUnavailableError(
                    f"the file {path.name} was deleted or replaced while the server ran; "
                    "stop the server, put the file back, and start it again"
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DatabaseUnavailableError(f"the file {path.name} cannot be reached: {error.strerror}") from error
    return stat.st_dev, stat.st_ino
