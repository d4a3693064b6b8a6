"""Values from the command line: params, JSON objects and instants."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer


def merge_params(text: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the params of `--params '{"a": 1}'`, with those of `-p key=value` over them."""
    singles = [_pair(pair) for pair in pairs]
    names = [name for name, _ in singles]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise typer.BadParameter(f"{', '.join(doubled)} came twice", param_hint="--param")
    return (json_object(text, "--params") or {}) | dict(singles)


def json_object(text: str | None, hint: str) -> dict[str, Any] | None:
    """Read a JSON object; None stays None.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    try:
        value = _parse(text)
    except ValueError as error:
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
    from service.intake.json_text import DoubledKeysError  # noqa: PLC0415 - as below

    try:
        return _parse(text)
    except DoubledKeysError as error:
        raise typer.BadParameter(str(error), param_hint="--param") from None
    except ValueError:
        return text


def _parse(text: str) -> Any:
    """Read JSON as the server reads it, byte order mark and all."""
    from service.intake.json_text import parse_json  # noqa: PLC0415 - slow to import

    return parse_json(text)
