"""Tables in files, whatever their format: each becomes a view that is read as it is needed."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from service.catalogue.table.csv import SAMPLE_ROWS, Dialect, exact_types, find_dialect
from service.catalogue.table.engine import NO_PARTITIONS, PLAIN_BYTES, failing_as, name, place
from service.catalogue.table.excel import write_json_lines
from service.catalogue.text.encoding import Encoding, characters, find_encoding, named_encoding
from service.processors.base import Fail, InputFile

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_COLUMNS = 2000
T = TypeVar("T")
Types = Literal["of a sample", "of all rows", "texts"]
_JSON = re.compile(rb"""\s*(\{\s*["}]|\[\s*([\[{"\]0-9-]|(true|false|null)\b))""")  # `[id],[name]` is a header
_MIXED_LINE_ENDS = "state machine reached an invalid state"  # also for quotes where they do not belong
Format = Literal["csv", "tsv", "jsonl", "parquet", "xlsx"]
MODULES = ("duckdb", "python_calamine", "xlsxwriter")
ACCEPTED = ("text/*", "application/*")  # a few lines of text are taken for much; the content is looked at again


class Reading(BaseModel):
    """How the input files are to be read; what is not said is detected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Annotated[Format | None, Field(description="format of the files; without it, told by their content")] = None
    encoding: Annotated[str | None, Field(max_length=40, description="encoding of text files, such as latin-1")] = None
    delimiter: Annotated[
        str | None, Field(min_length=1, max_length=1, description="what stands between the values of a line")
    ] = None
    header: Annotated[bool | None, Field(description="whether the first row holds the names of the columns")] = None
    sheet: Annotated[str | None, Field(max_length=100, description="sheet of an Excel file; default: the first")] = None


@dataclass(frozen=True, slots=True)
class Table:
    """An input file as a table. `path` is what the database reads: the file itself, or a copy in plain UTF-8."""

    file: InputFile
    format: Format
    path: Path
    encoding: Encoding | None = None
    dialect: Dialect | None = None
    sheet: str | None = None

    def with_lenient_dialect(self) -> "Table":
        """Return the table, read without insisting that all lines end alike."""
        return self if self.dialect is None else replace(self, dialect=replace(self.dialect, is_strict=False))

    def facts(self) -> dict[str, Any]:
        """Return what was detected, as JSON."""
        return {
            "name": self.file.name,
            "format": self.format,
            "encoding": self.encoding.name if self.encoding else None,
            "dialect": self.dialect.facts() if self.dialect else None,
            "sheet": self.sheet,
        }


def prepared(number: int, file: InputFile, options: Reading, folder: Path) -> Table:
    """Return the table, with a copy in the folder where the file itself cannot be read by the database.

    Raises:
        Fail: it is empty, or not a table of a known format.
    """
    if file.size_bytes == 0:
        raise Fail(f"{file.name!r} is empty; send a file with at least one row", code="empty_file")
    form = options.format or _format(file)
    match form:
        case "parquet":
            return Table(file, form, file.path)
        case "xlsx":
            path = folder / f"sheet-{number}.jsonl"
            sheet = write_json_lines(file, path, sheet=options.sheet, header=options.header is not False)
            return Table(file, form, path, sheet=sheet)
        case _:
            return _text_table(file, form, options, folder / f"utf8-{number}.txt")


def with_views(
    connection: "DuckDBPyConnection", tables: Mapping[str, Table], work: Callable[[], T], types: Types = "of a sample"
) -> T:
    """Make each table a view of that name and do the work.

    The types of columns are told from a sample of the rows. Where a later value does not fit, the work is done
    again from the start, with types that fit all rows; or at once, where `types` asks for them.

    Raises:
        Fail: a file is broken.
        duckdb.Error: what the work raised.
    """
    import duckdb  # noqa: PLC0415 - large, and only needed here

    try:
        _attach(connection, tables, types)
        return work()
    except (duckdb.ConversionException, duckdb.InvalidInputException) as error:
        if _MIXED_LINE_ENDS in str(error):
            tables = {view: table.with_lenient_dialect() for view, table in tables.items()}
        _attach(connection, tables, "texts" if types == "texts" else "of all rows")
        return work()


def _attach(connection: "DuckDBPyConnection", tables: Mapping[str, Table], types: Types) -> None:
    for view, table in tables.items():
        with reading(table):
            select = f"SELECT * FROM {_source(connection, table, types)}"  # noqa: S608 - quoted
            connection.execute(f"CREATE OR REPLACE VIEW {name(view)} AS {select}")
            count = len(connection.execute(f"DESCRIBE {name(view)}").fetchall())
        if count > MAX_COLUMNS:
            message = f"{table.file.name!r} has {count:,} columns, and at most {MAX_COLUMNS:,} are read"
            raise Fail(message, code="too_many_columns")


def _source(connection: "DuckDBPyConnection", table: Table, types: Types) -> str:
    if (dialect := table.dialect) is not None:
        match types:
            case "of a sample":
                return dialect.source(table.path, dialect.types)
            case "of all rows":
                return dialect.source(table.path, exact_types(connection, table.path, dialect))
            case "texts":
                return dialect.source(table.path, dialect.texts, keeps_empty=True)
    if table.format == "parquet":
        return f"read_parquet({place(table.path)}{_more(NO_PARTITIONS)})"
    sample = -1 if types == "of all rows" or table.format == "xlsx" else SAMPLE_ROWS
    # Without map inference, an object with many keys stays one column a key.
    options = {"sample_size": str(sample), "map_inference_threshold": "-1", **PLAIN_BYTES}
    return f"read_json({place(table.path)}{_more(options)})"


def _more(options: Mapping[str, str]) -> str:
    return "".join(f", {key}={value}" for key, value in options.items())


@contextlib.contextmanager
def reading(table: Table) -> Iterator[None]:
    """Turn errors of the database into the sentence that this file is broken."""
    with failing_as(f"{table.file.name!r} cannot be read as {table.format}", f"invalid_{table.format}"):
        yield


def with_dialect(connection: "DuckDBPyConnection", table: Table, options: Reading) -> Table:
    """Return the table with the dialect of its lines, if it is one of lines.

    Raises:
        Fail: no dialect fits.
    """
    if table.format not in {"csv", "tsv"}:
        return table
    delimiter = options.delimiter or ("\t" if table.format == "tsv" else None)
    with reading(table):
        return replace(table, dialect=find_dialect(connection, table.path, delimiter, header=options.header))


# ---- formats


def _format(file: InputFile) -> Format:
    """Tell the format by the first bytes; the file's name only tells tab-separated values from others."""
    with file.path.open("rb") as source:
        head = source.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        message = f"{file.name!r} is an Excel file of before 2007, or encrypted; save it as .xlsx without a password"
        raise Fail(message, code="not_a_table")
    if _JSON.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "jsonl"
    return "tsv" if file.name.lower().endswith((".tsv", ".tab")) else "csv"


def _text_table(file: InputFile, form: Format, options: Reading, copy: Path) -> Table:
    """Return a table in text; what is not UTF-8 is written anew as UTF-8, piece by piece."""
    encoding = _encoding(file, options.encoding)
    path = file.path
    if not encoding.is_utf8:
        path = copy
        with path.open("w", encoding="utf-8", newline="") as target:
            target.writelines(characters(file.path, encoding))
    return Table(file, form, path, encoding)


def _encoding(file: InputFile, name: str | None) -> Encoding:
    if name is not None:
        return named_encoding(name)
    try:
        return find_encoding(file)
    except Fail:
        message = f"{file.name!r} is not a table: it is neither text nor Parquet nor Excel (.xlsx); send one of these"
        raise Fail(message, code="not_a_table") from None
