"""Statements compiled once, and run by the driver itself.

SQLite is called in this very process, and takes some microseconds for a statement. SQLAlchemy's way there takes a
hundred, and prepares the parameters of every row anew. Here only its compiled text and the converters of its types
are left.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.exc import DBAPIError

_Convert = Callable[[Any], Any]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """`places` says where each parameter comes from: the name in the row, with its converter; or None, with a value."""

    text: str
    places: list[tuple[str | None, Any]]
    columns: list[_Convert | None]

    def values(self, row: Row) -> tuple[Any, ...]:
        """Return the parameters of the driver."""
        return tuple(
            [
                given if name is None else row[name] if given is None else given(row[name])
                for name, given in self.places  # a list, because it is made faster
            ]
        )

    def result(self, row: Sequence[Any]) -> list[Any]:
        """Return what the driver gives as values of the columns' types."""
        return [value if convert is None else convert(value) for value, convert in zip(row, self.columns, strict=True)]


class Prepared:
    """A statement, for drivers whose parameters are positional.

    All rows have the names of the first one that it ever gets; defaults of columns are not applied.
    """

    def __init__(self, statement: Insert | Update | Select[Any]) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run it for each row, and return how many rows of the table it matched.

        Raises:
            DBAPIError: the database refused, as SQLAlchemy puts it.
        """
        if not rows:
            return 0
        compiled = self._compiled_for(connection.dialect, rows[0])
        with closing(connection.connection.cursor()) as cursor:
            try:
                cursor.executemany(compiled.text, [compiled.values(row) for row in rows])
            except connection.dialect.loaded_dbapi.Error as error:
                raise _public(error, compiled.text, connection.dialect) from error
            return cursor.rowcount

    def fetch(self, connection: Connection, rows: Sequence[Row]) -> list[list[Any]]:
        """Run it for each row, and return all that it gives.

        Raises:
            DBAPIError: the database refused, as SQLAlchemy puts it.
        """
        if not rows:
            return []
        compiled = self._compiled_for(connection.dialect, rows[0])
        found: list[list[Any]] = []
        with closing(connection.connection.cursor()) as cursor:
            try:
                for row in rows:
                    cursor.execute(compiled.text, compiled.values(row))
                    found += map(compiled.result, cursor.fetchall())
            except connection.dialect.loaded_dbapi.Error as error:
                raise _public(error, compiled.text, connection.dialect) from error
        return found

    def _compiled_for(self, dialect: Dialect, row: Row) -> _Compiled:
        if (found := self._compiled.get(dialect.name)) is None:
            found = self._compiled[dialect.name] = self._compile(dialect, row)
        return found

    def _compile(self, dialect: Dialect, row: Row) -> _Compiled:
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(row))
        places: list[tuple[str | None, Any]] = []
        for name in compiled.positiontup:
            convert = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            if name in row:
                places.append((name, convert))
            else:  # a value of the statement itself
                value = compiled.params[name]
                places.append((None, value if convert is None else convert(value)))
        columns = [one.type.dialect_impl(dialect).result_processor(dialect, None) for one in _columns(self._statement)]
        return _Compiled(str(compiled), places, columns)


def _columns(statement: Insert | Update | Select[Any]) -> list[Any]:
    """Return what the statement gives back."""
    return list(statement.selected_columns if isinstance(statement, Select) else statement.exported_columns)


def _public(error: Exception, text: str, dialect: Dialect) -> BaseException:
    """Return the error as SQLAlchemy puts it, without the parameters, which may be secret."""
    return DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect)
