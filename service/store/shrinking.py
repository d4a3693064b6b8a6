"""Giving pages of the database that are free back to the file system.

SQLite keeps them for later rows, and a file that was once large would stay so. With "incremental" vacuum a few can be
cut off at a time (https://www.sqlite.org/pragma.html#pragma_auto_vacuum). A new database has that from the start; an
older one must be written anew once.
"""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import structlog
from sqlalchemy import Connection

log = structlog.get_logger()

_SHRINKABLE = "PRAGMA auto_vacuum=INCREMENTAL"
SLICE_PAGES = 256  # some milliseconds, for which others wait
_INCREMENTAL = 2
_SPARE_BYTES = 64 * 1024**2


def first_pragmas(path: Path) -> tuple[str, ...]:
    """Return what is to be said on a connection before a new database gets its first table."""
    return () if path.exists() and path.stat().st_size else (_SHRINKABLE,)


def shrink(connection: Connection, items: Sequence[None]) -> Sequence[int]:
    """Give a slice of free pages back; return how many, 0 when those that are left are worth keeping.

    A tenth of the pages stays free, and a slice at least: the next rows would only make the file grow again.
    """
    return [_shrink(connection) for _ in items]


def make_shrinkable(path: Path) -> None:
    """Write a database anew that cannot shrink; where there is no room for that, say so and leave it as it is.

    That takes some 10 s for a million jobs. Whoever is killed meanwhile finds the old one.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL:
                return
            size_bytes = _used_bytes(connection)
            if lacking := _places_without_room(path.parent, size_bytes):
                log.warning("no room to write the database anew, so it cannot shrink", path=str(path), places=lacking)
                return
            log.info("database is written anew, once, so that it can shrink", path=str(path), size_bytes=size_bytes)
            connection.execute(_SHRINKABLE)
            connection.execute("VACUUM")
    except (sqlite3.Error, OSError) as error:
        log.warning("database could not be written anew, so it cannot shrink", path=str(path), error=str(error))


def _shrink(connection: Connection) -> int:
    free, pages = _pragma(connection, "freelist_count"), _pragma(connection, "page_count")
    count = min(free - max(pages // 10, SLICE_PAGES), SLICE_PAGES)
    if count <= 0 or _pragma(connection, "auto_vacuum") != _INCREMENTAL:
        return 0
    for _ in range(count):  # the driver takes but one step of the statement, and each step gives back a page
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
    return count


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _used_bytes(connection: sqlite3.Connection) -> int:
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size * (pages - free))


def _places_without_room(folder: Path, size_bytes: int) -> list[str]:
    """Return the folders that are too full: one gets a copy for a time, and the other may get a second in its log."""
    needed = {folder: 2 * size_bytes + _SPARE_BYTES, _temporary_folder(): size_bytes + _SPARE_BYTES}
    return [str(place) for place, room in needed.items() if shutil.disk_usage(place).free < room]


def _temporary_folder() -> Path:
    """Return where SQLite puts temporary files: https://www.sqlite.org/tempfiles.html, section 5."""
    named = [os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp"]  # noqa: S108 - SQLite's list
    places = [Path(name) for name in named if name and os.access(name, os.W_OK | os.X_OK)]
    return next((place for place in places if place.is_dir()), Path())
