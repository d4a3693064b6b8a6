"""What a query from outside may say: one SELECT, over the uploaded tables."""

import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from service.processors.base import Fail

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Others read files, run SQL from texts, or tell the settings of the database, its paths among them.
_TABLE_FUNCTIONS = {
    *("range", "generate_series", "repeat", "repeat_row", "unnest", "json_each", "json_tree", "summary"),
}
_TELLING = {"current_setting", "getenv", "json_execute_serialized_sql", "which_secret", "write_log"}
_CATALOGUES = ("duckdb_", "sqlite_", "pragma_", "pg_")


def checked_select(connection: "DuckDBPyConnection", sql: str, tables: Collection[str]) -> str:
    """Return the query without what follows its end, once it is known to ask for nothing else.

    Raises:
        Fail: it is not one SELECT, or reaches for more than the tables.
        duckdb.Error: it is not SQL.
    """
    from duckdb import StatementType  # noqa: PLC0415 - large

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != StatementType.SELECT:
        raise Fail("the query is not one SELECT; nothing else is allowed here", code="query_forbidden")
    row = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(row[0]) if row else {"error": True}
    if tree["error"]:
        raise Fail("the query has a part that cannot be checked; write it as a plain SELECT", code="query_forbidden")
    for node in _nodes(tree):
        _check_table(node, tables)
        _check_function(node)
    return _without_end(connection, sql)


def _check_table(node: dict[str, Any], tables: Collection[str]) -> None:
    if node.get("type") != "BASE_TABLE":
        return
    name, schema = str(node.get("table_name", "")).lower(), str(node.get("schema_name") or "").lower()
    if schema not in {"", "main"} or (name.startswith(_CATALOGUES) and name not in tables):
        raise _closed(".".join(filter(None, [schema, name])))


def _check_function(node: dict[str, Any]) -> None:
    if node.get("type") == "TABLE_FUNCTION":
        function = node.get("function") or {}
        name = str(function.get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise _closed(name)
    name = str(node.get("function_name", "")).lower()
    if name in _TELLING or name.startswith(_CATALOGUES):
        raise _closed(name)


def _closed(name: str) -> Fail:
    message = f"the query may read the uploaded files only, by their table names; {name[:100]} is closed to it"
    return Fail(message, code="access_denied")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield each object of the tree; it may be deeper than Python's stack."""
    waiting = [tree]
    while waiting:
        match waiting.pop():
            case dict() as node:
                yield node
                waiting.extend(node.values())
            case list() as nodes:
                waiting.extend(nodes)


def _without_end(connection: "DuckDBPyConnection", sql: str) -> str:
    """Return the query up to its semicolon, which a comment may follow."""
    at = sql.rfind(";")
    while at >= 0:
        if _count(connection, sql[at:]) == 0 and _count(connection, sql[:at]) == 1:
            sql = sql[:at]
        at = sql.rfind(";", 0, at)
    return sql


def _count(connection: "DuckDBPyConnection", sql: str) -> int | None:
    """Return how many statements there are; None where it is none, as within the quotes of a text."""
    from duckdb import Error  # noqa: PLC0415 - large

    try:
        return len(connection.extract_statements(sql))
    except Error:
        return None
