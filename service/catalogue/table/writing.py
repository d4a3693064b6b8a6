"""Tables written to files."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.catalogue.table.engine import MAX_OUTPUT_BYTES, text
from service.catalogue.table.excel import write_workbook
from service.catalogue.table.reading import Format
from service.processors.base import Fail

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SUFFIXES: dict[Format, str] = {
    "csv": ".csv",
    "tsv": ".tsv",
    "jsonl": ".jsonl",
    "parquet": ".parquet",
    "xlsx": ".xlsx",
}
_OPTIONS: dict[Format, str] = {
    "csv": "FORMAT csv, HEADER true",
    "tsv": r"FORMAT csv, HEADER true, DELIMITER e'\t'",
    "jsonl": "FORMAT json",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
_BATCH_ROWS = 2000


def write(connection: "DuckDBPyConnection", select: str, form: Format, path: Path) -> int:
    """Write the rows of a checked SELECT to the file, as they come; return how many there are.

    Raises:
        Fail: there are too many for the file.
        duckdb.Error: the rows cannot be had.
    """
    if form == "xlsx":
        cursor = connection.execute(select)
        return write_workbook(path, [column[0] for column in cursor.description or ()], _batches(cursor))
    with _bounded():
        copy = f"COPY ({select}) TO {text(path)} ({_OPTIONS[form]}, USE_TMP_FILE false)"
        row = connection.execute(copy).fetchone()
    return int(row[0]) if row else 0


def _batches(cursor: "DuckDBPyConnection") -> Iterator[list[tuple[Any, ...]]]:
    while batch := cursor.fetchmany(_BATCH_ROWS):
        yield batch


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Let this process write no file beyond the limit meanwhile; the kernel sees to it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = MAX_OUTPUT_BYTES if before[1] == resource.RLIM_INFINITY else min(MAX_OUTPUT_BYTES, before[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    except Exception as error:
        if os.strerror(errno.EFBIG) in str(error):
            message = f"the output would have more than {limit:,} bytes; ask for fewer rows or columns"
            raise Fail(message, code="too_large") from None
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
