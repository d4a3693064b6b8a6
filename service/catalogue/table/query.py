"""table.query: SQL over the uploaded tables, and over nothing else."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from service.catalogue.table.engine import MEMORY_LIMIT_BYTES, failing_as, lock, open_engine
from service.catalogue.table.profiling import plain
from service.catalogue.table.reading import (
    ACCEPTED,
    MODULES,
    Format,
    Reading,
    Table,
    prepared,
    with_dialect,
    with_views,
)
from service.catalogue.table.statement import checked_select
from service.catalogue.table.writing import SUFFIXES, write
from service.naming import DistinctNames, stem_of
from service.processors.base import InputFile, JobContext, processor

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_SHOWN_ROWS = 100
MAX_SHOWN_CHARS = 500  # of one value
MAX_SHOWN_BYTES = 1024**2


@processor(
    "table.query",
    accepts=ACCEPTED,
    max_files=20,
    extra="tables",
    requires=MODULES,
    memory_limit_bytes=MEMORY_LIMIT_BYTES,
    reads_only=True,
)
def query_tables(
    job: JobContext,
    *,
    sql: Annotated[str, Field(min_length=1, max_length=100_000)],
    to: Format = "csv",
    max_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = (10_000_000),
    read: Reading = Reading(),  # noqa: B008 - it is frozen
) -> dict[str, Any]:
    """Query tables with SQL.

    Each file is a table, named like the file (`sales-2024.csv` is `sales_2024`); the first is `data` too. The
    query can read nothing else: no other file, no network. The answer is an output file; the result shows its
    first rows.

    Args:
        sql: one SELECT, in the SQL of DuckDB.
        to: format of the output file.
        max_rows: rows after which the answer is cut.
        read: how to read the files, where detection needs help.
    """
    prepared_tables = [prepared(number, file, read, job.folder) for number, file in enumerate(job.files)]
    output = "result" + SUFFIXES[to]
    path = job.output(output)
    with open_engine(job.folder, [table.path for table in prepared_tables], path) as connection:
        lock(connection)
        tables = dict(zip(_table_names(job.files), prepared_tables, strict=True))
        tables = {one: with_dialect(connection, table, read) for one, table in tables.items()}
        answer = _answer(connection, tables, sql, max_rows, to, path)
    shown = {one: table.facts() for one, table in tables.items()}
    return {"tables": shown, "output": output, "size_bytes": path.stat().st_size, **answer}


def _answer(
    connection: "DuckDBPyConnection", tables: dict[str, Table], sql: str, max_rows: int, to: Format, path: Path
) -> dict[str, Any]:
    with failing_as("the query fails", "query_failed"):
        views = {**tables, "data": next(iter(tables.values()))} if "data" not in tables else tables
        select = checked_select(connection, sql, views)

        def work() -> dict[str, Any]:
            # One row more tells whether the answer is cut. The newline ends a comment at the end of the query.
            limited = f"SELECT * FROM (\n{select}\n) LIMIT {max_rows + 1}"  # noqa: S608 - one checked SELECT
            connection.execute(f"CREATE OR REPLACE TEMP TABLE answer AS {limited}")
            row = connection.execute("SELECT count(*) FROM temp.answer").fetchone() or (0,)
            rows = write(connection, f"SELECT * FROM temp.answer LIMIT {max_rows}", to, path)  # noqa: S608
            return {"rows": rows, "is_cut": row[0] > max_rows, **_first_rows(connection, max_rows)}

        return with_views(connection, views, work)


def _first_rows(connection: "DuckDBPyConnection", max_rows: int) -> dict[str, Any]:
    cursor = connection.execute(f"SELECT * FROM temp.answer LIMIT {min(MAX_SHOWN_ROWS, max_rows)}")  # noqa: S608
    columns = [column[0] for column in cursor.description or ()]
    return {"columns": columns, "first_rows": list(_shown_rows(cursor))}


def _shown_rows(cursor: "DuckDBPyConnection") -> Iterator[list[Any]]:
    """Yield the rows with long values cut, as many as there is room for in a result."""
    left_bytes = MAX_SHOWN_BYTES
    while (row := cursor.fetchone()) is not None:
        shown = [_shown(plain(value)) for value in row]
        left_bytes -= len(json.dumps(shown))
        if left_bytes < 0:
            return
        yield shown


def _shown(value: Any) -> Any:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(said) <= MAX_SHOWN_CHARS else said[: MAX_SHOWN_CHARS - 1] + "…"


def _table_names(files: Sequence[InputFile]) -> list[str]:
    """Return a name for each file that is its own and needs no quotes in SQL."""
    names = DistinctNames("_")
    stems = [re.sub(r"\W+", "_", stem_of(file.name, "data").lower(), flags=re.ASCII).strip("_") for file in files]
    return [names.take(f"t_{stem}" if stem[:1].isdigit() else stem or "data") for stem in stems]
