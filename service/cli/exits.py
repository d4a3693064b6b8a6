"""How the command ends: the exit codes, and exceptions as sentences for people."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from service.cli import render
from service.errors import FieldError, FilemillError, SettingsError

if TYPE_CHECKING:
    from service.client import ClientError


class ExitCode(IntEnum):
    """What a script reads from `$?`."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMED_OUT = 4


MEANINGS = {
    ExitCode.OK: "all went well",
    ExitCode.REFUSED: "the server said no, or a job that was waited for failed or was cancelled",
    ExitCode.USAGE: "the command line or a setting is not valid",
    ExitCode.UNREACHABLE: "no server answers",
    ExitCode.TIMED_OUT: "a job that was waited for did not finish in time; it goes on",
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # where the output goes, if no file is named
ORDER = ("serve", "submit", "jobs", "files", "logs", "top", "processors", "run", "settings", "migrate")


class FilemillGroup(TyperGroup):
    """Says what went wrong in a sentence, where Python would print a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # what is left to the end of Python fails without a word of ours
        except Exception as error:
            code = explain(error)
            if code is None:
                raise
            raise typer.Exit(code) from error
        else:
            return result

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order that people meet them; typer would put groups last."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        render.print_panel("Exit codes", [(str(code.value), meaning) for code, meaning in MEANINGS.items()])


class ListGroup(TyperGroup):
    """A group whose bare name means its command `list`: `filemill jobs --state failed`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_bare = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if is_bare else args)


class Tally:
    """Goes on after a refusal when there is more to do, and remembers the worst."""

    def __init__(self) -> None:
        self.worst = ExitCode.OK

    def note(self, code: ExitCode) -> None:
        """Remember that something ended with this code."""
        self.worst = max(self.worst, code)

    @contextmanager
    def going_on(self, subject: str = "") -> Iterator[None]:
        """Explain what the block raises and swallow it, unless it would hit the next one too."""
        try:
            yield
        except Exception as error:
            code = _code_of(error)
            if code not in (ExitCode.REFUSED, ExitCode.TIMED_OUT):
                raise
            explain(error, subject)
            self.note(code)

    def finish(self) -> None:
        """Leave the command with the worst code."""
        if self.worst is not ExitCode.OK:
            raise typer.Exit(self.worst)


def explain(error: Exception, subject: str = "") -> ExitCode | None:
    """Print what went wrong and return the exit code; None when this is no error that we know."""
    code = _code_of(error)
    if code is not None:
        errors: tuple[FieldError, ...] = getattr(error, "errors", ())
        names = ", ".join(one.field for one in errors)
        sentence = _sentence(error).removesuffix(f" {names}")  # they follow, each with what is wrong with it
        render.complain(f"{subject}: {sentence}" if subject else sentence)
        for one in errors:
            render.note(f"  {one.field}: {one.message}")
    return code


def _code_of(error: Exception) -> ExitCode | None:
    if isinstance(error, SettingsError):
        return ExitCode.USAGE
    if isinstance(error, OSError):
        is_known = error.errno != errno.EPIPE and (error.filename is not None or error.errno in _FULL)
        return ExitCode.REFUSED if is_known else None
    if isinstance(error, FilemillError):
        return ExitCode.REFUSED
    return _code_of_client_error(error)


def _code_of_client_error(error: Exception) -> ExitCode | None:
    if not type(error).__module__.startswith("service.client"):
        return None  # decided by name, so that the client is not imported to explain a typing error
    from service.client import ServerUnreachableError, UnsendableError, WaitTimeoutError  # noqa: PLC0415

    if isinstance(error, ServerUnreachableError):
        return ExitCode.UNREACHABLE
    if isinstance(error, UnsendableError):
        return ExitCode.USAGE
    return ExitCode.TIMED_OUT if isinstance(error, WaitTimeoutError) else ExitCode.REFUSED


def _sentence(error: "Exception | ClientError") -> str:
    if isinstance(error, FileExistsError):
        return f"{error.filename} is there already; --overwrite replaces it"
    if isinstance(error, OSError):
        return f"{'cannot write' if error.filename is None else error.filename}: {error.strerror}"
    return str(error)
