"""The SQL of a profile: all columns in two passes over the rows, in memory that does not grow with them."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.catalogue.table.engine import name, text

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_VALUE_CHARS = 200
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
            "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BIGNUM")  # fmt: skip
_INSTANTS = ("DATE", "TIMESTAMP")
_NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT", "BLOB", "BIT")


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str

    @property
    def is_number(self) -> bool:
        return self.type.startswith(_NUMBERS) and not self.is_nested

    @property
    def is_nested(self) -> bool:
        return self.type.startswith(_NESTED) or self.type.endswith("]")

    @property
    def value(self) -> str:
        """SQL of a value that can be compared."""
        return f"CAST({name(self.name)} AS VARCHAR)" if self.is_nested else name(self.name)

    @property
    def shown(self) -> str:
        """SQL of a value as text of bounded length."""
        return f"left(CAST({name(self.name)} AS VARCHAR), {MAX_VALUE_CHARS})"


def profile(
    connection: "DuckDBPyConnection", view: str, quantiles: Sequence[float], top: int, *, exact: bool
) -> dict[str, Any]:
    """Return the number of rows and what there is to say of each column, as JSON.

    With `exact` the numbers of distinct values are counted, else estimated (HyperLogLog). Quantiles are always
    estimates (t-digest). The candidates for the most frequent values are estimates too, their counts are not.

    Raises:
        duckdb.Error: the file is broken.
    """
    described = connection.execute(f"DESCRIBE {name(view)}").fetchall()
    columns = [_Column(row[0], row[1]) for row in described]
    asked = [_first_pass(column, quantiles, top, exact=exact) for column in columns]
    aggregates = ", ".join(["count(*)", *(sql for one in asked for sql in one.values())])
    row = list(connection.execute(f"SELECT {aggregates} FROM {name(view)}").fetchone() or ())  # noqa: S608 - quoted
    rows = row.pop(0)
    found = [{key: row.pop(0) for key in one} for one in asked]
    counts = _top_counts(connection, view, columns, [one.pop("candidates") for one in found])
    return {
        "rows": rows,
        "distinct_is_exact": exact,
        "columns": [
            _described(column, one, rows, quantiles, values)
            for column, one, values in zip(columns, found, counts, strict=True)
        ],
    }


def _first_pass(column: _Column, quantiles: Sequence[float], top: int, *, exact: bool) -> dict[str, str]:
    """Return SQL aggregates by what they are called below."""
    value = column.value
    asked = {
        "count": f"count({value})",
        "distinct": f"count(DISTINCT {value})" if exact else f"approx_count_distinct({value})",
        "candidates": f"approx_top_k({column.shown}, {top})",
    }
    if not column.is_nested:
        cut = column.shown if column.type == "VARCHAR" else value
        asked |= {"min": f"min({cut})", "max": f"max({cut})"}
    if column.is_number:
        finite = f"FILTER (isfinite(CAST({value} AS DOUBLE)))"
        asked |= {"mean": f"avg({value}) {finite}", "std": f"stddev_samp(CAST({value} AS DOUBLE)) {finite}"}
    if column.type == "VARCHAR":
        asked |= {"min_length": f"min(length({value}))", "max_length": f"max(length({value}))"}
    if quantiles and (column.is_number or column.type.startswith(_INSTANTS)):
        asked["quantiles"] = f"approx_quantile({value}, [{', '.join(map(repr, quantiles))}])"
    return asked


def _top_counts(
    connection: "DuckDBPyConnection", view: str, columns: Sequence[_Column], candidates: Sequence[list[str] | None]
) -> list[dict[str, int]]:
    """Return how often the candidates of each column occur, in one pass over all columns."""
    counts = ", ".join(
        f"histogram({column.shown}) FILTER ({column.shown} IN ({', '.join(map(text, values))}))"
        if values
        else "max(NULL)"
        for column, values in zip(columns, candidates, strict=True)
    )
    row = connection.execute(f"SELECT {counts} FROM {name(view)}").fetchone() or ()  # noqa: S608 - quoted
    return [found or {} for found in row]


def _described(
    column: _Column, found: dict[str, Any], rows: int, quantiles: Sequence[float], counts: dict[str, int]
) -> dict[str, Any]:
    estimates = found.pop("quantiles", None)
    count = found.pop("count")
    described = {"name": column.name, "type": column.type, "nulls": rows - count}
    described |= {key: plain(value) for key, value in found.items()}
    described["distinct"] = min(found["distinct"], count)  # an estimate may be too high
    if estimates is not None:
        described["quantiles"] = {f"{at:g}": plain(one) for at, one in zip(quantiles, estimates, strict=True)}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return described | {"top": [{"value": value, "count": count} for value, count in ordered]}


def plain(value: Any) -> Any:
    """Return a value as JSON: what is neither number, text nor truth becomes text; no number is infinite."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return value[:MAX_VALUE_CHARS].hex()
        case list() | tuple():
            return [plain(one) for one in value]
        case _:
            return _rarer(value)


def _rarer(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)[:MAX_VALUE_CHARS]
    return number if math.isfinite(number) else str(value)
