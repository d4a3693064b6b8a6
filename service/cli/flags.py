"""One flag for each setting, made from the settings themselves when a command that takes them runs."""

import inspect
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from service.cli import render

# url is about the other commands; a password on the command line is for all to see
_WITHOUT_FLAG = {"url", "smtp_password"}
_METAVARS = {"s": "SECONDS", "bytes": "SIZE", "dir": "FOLDER", "int": "NUMBER"}


class SettingsCommand(TyperCommand):
    """A command with a flag for each setting; its callback finds the given ones in `ctx.obj`, as text."""

    def get_params(self, ctx: Any) -> list[Any]:
        if not hasattr(self, "_flags"):
            self._flags = _flags()
        return [*self._flags, *super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = {flag.name: ctx.params.pop(flag.name, None) for flag in self._flags}
        return super().invoke(ctx)


def _flags() -> list[Any]:
    """Let typer make the options of a function that has them all as parameters."""

    def described(**_flags: str | None) -> None:
        """Stand for the command."""

    parameters = _parameters()
    described.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    described.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(described)
    return [one for one in typer.main.get_command(app).params if one.name != "help"]


def _parameters() -> list[inspect.Parameter]:
    from service.settings import Settings  # noqa: PLC0415 - slow to import

    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, field))
        for name, field in Settings.model_fields.items()
        if name not in _WITHOUT_FLAG
    ]


def _annotation(name: str, field: Any) -> Any:
    """Keep the value as text: the settings check it, in the same words as a variable."""
    unit = _METAVARS.get(name.rpartition("_")[2]) or _METAVARS.get(getattr(field.annotation, "__name__", ""), "TEXT")
    text = str(field.description).replace("[", r"\[")
    value = field.get_default(call_default_factory=True)
    default = render.exact(value, "bytes") if unit == "SIZE" and value is not None else str(value)
    shown = text if default in ("", "None") else f"{text} [dim]\\[{default}][/dim]"
    return Annotated[str | None, typer.Option(f"--{name.replace('_', '-')}", metavar=unit, help=shown)]
