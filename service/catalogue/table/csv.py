"""Tables in lines of text: their dialect, and the types of their columns."""

import contextlib
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.catalogue.table.engine import PLAIN_BYTES, name, place, text
from service.processors.base import Fail

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SAMPLE_ROWS = 20_480
_TYPES = ("BIGINT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP")  # the first that fits all values is taken
_WHOLE = r"'\s*-?(0|[1-9]\d*)\s*'"  # a cast to BIGINT would round others
_CODE = r"'\s*[+-]?0\d.*|\s*[+].*'"  # a postal code or a telephone number: a number would lose its first signs
_MAX_LINE_BYTES = 16 * 1024**2
_READING = {**PLAIN_BYTES, "max_line_size": str(_MAX_LINE_BYTES), "buffer_size": str(2 * _MAX_LINE_BYTES)}
_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 1024**2


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the lines are built; `types` are those of the columns, in their order, as far as a sample tells."""

    delimiter: str
    quote: str
    escape: str
    comment: str
    skip_rows: int
    has_header: bool
    types: dict[str, str]
    date_format: str | None
    timestamp_format: str | None
    is_strict: bool = True

    @property
    def texts(self) -> dict[str, str]:
        """The columns, all as texts."""
        return dict.fromkeys(self.types, "VARCHAR")

    def source(self, path: Path, types: Mapping[str, str], *, keeps_empty: bool = False) -> str:
        """Return the SQL that reads the file with these types; with `keeps_empty`, `""` is a text and not null."""
        columns = ", ".join(f"{text(column)}: {text(kind)}" for column, kind in types.items())
        options = {
            "auto_detect": "false",
            "delim": text(self.delimiter),
            "quote": text(self.quote),
            "escape": text(self.escape),
            "comment": text(self.comment),
            "skip": str(self.skip_rows),
            "header": str(self.has_header).lower(),
            "columns": "{" + columns + "}",
            "strict_mode": str(self.is_strict).lower(),
            "allow_quoted_nulls": str(not keeps_empty).lower(),
            **_READING,
        }
        if self.date_format:
            options["dateformat"] = text(self.date_format)
        if self.timestamp_format:
            options["timestampformat"] = text(self.timestamp_format)
        return f"read_csv({place(path)}, {', '.join(f'{key}={value}' for key, value in options.items())})"

    def facts(self) -> dict[str, Any]:
        """Return the dialect as JSON."""
        return {
            "delimiter": self.delimiter,
            "quote": self.quote,
            "skipped_rows": self.skip_rows,
            "has_header": self.has_header,
        }


def find_dialect(
    connection: "DuckDBPyConnection", path: Path, delimiter: str | None, *, header: bool | None
) -> Dialect:
    """Return the dialect, told from the first rows; `delimiter` and `header` are given where they are known.

    Raises:
        Fail: its rows have different numbers of values.
        duckdb.Error: no dialect fits.
    """
    import duckdb  # noqa: PLC0415 - large, and only needed here

    try:
        dialect = _sniffed(connection, path, delimiter, header=header, is_strict=True)
    except duckdb.Error:
        _check_rows(path, delimiter or _DELIMITERS)
        return _sniffed(connection, path, delimiter, header=header, is_strict=False)
    if len(dialect.types) == 1 and delimiter is None:
        _check_rows(path, _DELIMITERS)
    return dialect


def _check_rows(path: Path, delimiters: str) -> None:
    """Raise `Fail` with the first line that has more or fewer values than the first and most of the others."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = file.read(_SAMPLE_CHARS).splitlines()
    for delimiter in delimiters:
        with contextlib.suppress(csv.Error):
            rows = csv.reader(lines, delimiter=delimiter)
            counts = [(rows.line_num, len(row)) for row in rows if row]
            _check_counts(counts)


def _check_counts(counts: Sequence[tuple[int, int]]) -> None:
    wanted = counts[0][1] if counts else 0
    odd = [(line, count) for line, count in counts if count != wanted]
    if wanted > 1 and odd and len(odd) * 2 < len(counts):
        raise Fail(
            f"line {odd[0][0]} has {odd[0][1]} values, and the first has {wanted}; correct it, or put quotes around"
            " values that hold the delimiter",
            code="invalid_csv",
        )


def _sniffed(
    connection: "DuckDBPyConnection", path: Path, delimiter: str | None, *, header: bool | None, is_strict: bool
) -> Dialect:
    given = {"sample_size": str(SAMPLE_ROWS), "strict_mode": str(is_strict).lower(), **_READING}
    if delimiter is not None:
        given["delim"] = text(delimiter)
    if header is not None:
        given["header"] = str(header).lower()
    options = ", ".join(f"{key}={value}" for key, value in given.items())
    sniffed = connection.execute(f"FROM sniff_csv({place(path)}, {options})")
    row = dict(zip([column[0] for column in sniffed.description or ()], sniffed.fetchone() or (), strict=True))
    return Dialect(
        delimiter=_mark(row["Delimiter"]) or ",",
        # Where the sample has no quotes, later rows may: they are the usual ones then.
        quote=_mark(row["Quote"]) or '"',
        escape=_mark(row["Escape"]) or '"',
        comment=_mark(row["Comment"]),
        skip_rows=row["SkipRows"],
        has_header=row["HasHeader"],
        types={column["name"]: column["type"] for column in row["Columns"]},
        date_format=row["DateFormat"],
        timestamp_format=row["TimestampFormat"],
        is_strict=is_strict,
    )


def exact_types(connection: "DuckDBPyConnection", path: Path, dialect: Dialect) -> dict[str, str]:
    """Return types that fit every row, by reading all of them once.

    Raises:
        duckdb.Error: the file is broken.
    """
    texts = dialect.texts
    counts = ", ".join(
        f"[count({name(column)}), {', '.join(_fitting(name(column), kind) for kind in _TYPES)}]" for column in texts
    )
    row = connection.execute(f"SELECT {counts} FROM {dialect.source(path, texts)}").fetchone() or ()  # noqa: S608
    return {column: _type_of(*found) for column, found in zip(texts, row, strict=True)}


def _fitting(column: str, kind: str) -> str:
    """Return the SQL that counts the values of this type."""
    condition = {
        "BIGINT": f" FILTER (regexp_full_match({column}, {_WHOLE}))",
        "DOUBLE": f" FILTER (NOT regexp_full_match({column}, {_CODE}))",
    }
    return f"count(TRY_CAST({column} AS {kind})){condition.get(kind, '')}"


def _type_of(values: int, *fits: int) -> str:
    if not values:
        return "VARCHAR"
    return next((kind for kind, fitting in zip(_TYPES, fits, strict=True) if fitting == values), "VARCHAR")


def _mark(found: str | None) -> str:
    return "" if found in {None, "(empty)", "\0"} else str(found)
