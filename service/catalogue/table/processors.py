"""Profiles and conversions of tables: CSV, tab-separated values, JSON lines, Parquet and Excel."""

from typing import Annotated, Any

from pydantic import Field

from service.catalogue.table.engine import MEMORY_LIMIT_BYTES, lock, open_engine
from service.catalogue.table.profiling import profile
from service.catalogue.table.reading import (
    ACCEPTED,
    MODULES,
    Format,
    Reading,
    Types,
    prepared,
    reading,
    with_dialect,
    with_views,
)
from service.catalogue.table.writing import SUFFIXES, write
from service.naming import DistinctNames, stem_of
from service.processors.base import JobContext, processor

EXACT_BYTES = 64 * 1024**2  # up to this size, distinct values are counted
_LINES = {"csv", "tsv"}
Quantile = Annotated[float, Field(ge=0, le=1)]


@processor(
    "table.profile",
    accepts=ACCEPTED,
    extra="tables",
    requires=MODULES,
    memory_limit_bytes=MEMORY_LIMIT_BYTES,
    reads_only=True,
)
def profile_tables(
    job: JobContext,
    *,
    quantiles: Annotated[tuple[Quantile, ...], Field(max_length=20)] = (0.05, 0.25, 0.5, 0.75, 0.95),
    top: Annotated[int, Field(ge=1, le=50)] = 5,
    read: Reading = Reading(),  # noqa: B008 - it is frozen
) -> dict[str, Any]:
    """Describe each column of tables: type, nulls, distinct values, range, quantiles and most frequent values.

    Format, encoding and dialect are detected. Files of any size are streamed. Up to 64 MiB distinct values are
    counted, beyond that estimated, and `distinct_is_exact` says which.

    Args:
        quantiles: which quantiles of numbers and dates to estimate.
        top: how many of the most frequent values to name.
        read: how to read the files, where detection needs help.
    """
    files = []
    for number, _ in enumerate(job.each_file()):
        files.append(_profiled(job, number, read, quantiles, top))
    return {"files": files}


def _profiled(job: JobContext, number: int, options: Reading, quantiles: tuple[float, ...], top: int) -> dict[str, Any]:
    table = prepared(number, job.files[number], options, job.folder)
    exact = table.file.size_bytes <= EXACT_BYTES
    with open_engine(job.folder, [table.path]) as connection:
        lock(connection)
        table = with_dialect(connection, table, options)
        with reading(table):
            found = with_views(
                connection, {"data": table}, lambda: profile(connection, "data", quantiles, top, exact=exact)
            )
    return {**table.facts(), **found}


@processor(
    "table.convert",
    accepts=ACCEPTED,
    extra="tables",
    requires=MODULES,
    memory_limit_bytes=MEMORY_LIMIT_BYTES,
    reads_only=True,
)
def convert_tables(
    job: JobContext,
    *,
    to: Format,
    read: Reading = Reading(),  # noqa: B008 - it is frozen
) -> dict[str, Any]:
    """Convert tables to another format.

    Rows keep their order, and files of any size are streamed. Text files are written as UTF-8, Parquet files with
    zstd compression.

    Args:
        to: format to write.
        read: how to read the files, where detection needs help.
    """
    names = DistinctNames()
    files = []
    for number, file in enumerate(job.each_file()):
        output = names.take(stem_of(file.name, "table"), SUFFIXES[to])
        files.append(_converted(job, number, read, to, output))
    return {"files": files}


def _converted(job: JobContext, number: int, options: Reading, to: Format, output: str) -> dict[str, Any]:
    table = prepared(number, job.files[number], options, job.folder)
    path = job.output(output)
    with open_engine(job.folder, [table.path], path) as connection:
        lock(connection)
        table = with_dialect(connection, table, options)
        with reading(table):
            types: Types = "texts" if {table.format, to} <= _LINES else "of all rows"  # no value may change
            rows = with_views(
                connection, {"data": table}, lambda: write(connection, "SELECT * FROM data", to, path), types
            )
    return {**table.facts(), "output": output, "rows": rows, "size_bytes": path.stat().st_size}
