"""Values from the command line: params, JSON objects and instants."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer


def merge_params(text: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the params of `--params '{"a": 1}'`, with those of `-p key=value` over them."""
    return (json_object(text, "--params") or {}) | dict(map(_pair, pairs))


def json_object(text: str | None, hint: str) -> dict[str, Any] | None:
    """Read a JSON object; None stays None.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"this is not JSON: {error}", param_hint=hint) from None
    if not isinstance(value, dict):
        raise typer.BadParameter("give a JSON object, such as '{\"width\": 800}'", param_hint=hint)
    return value


def instant(text: str | None) -> datetime | None:
    """Read an ISO 8601 instant; without a time zone it is local time.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no instant; write 2030-01-31T18:00, or with a time zone 2030-01-31T18:00Z",
            param_hint="--run-after",
        ) from None


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not key=value", param_hint="--param")
    return name, _json_or_text(value)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's JSON, not the world's (RFC 8259, section 6)."""
    raise ValueError(f"{name} is not JSON")
