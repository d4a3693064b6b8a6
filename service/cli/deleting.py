"""What the commands that delete have in common: the question before, and going on after a refusal."""

import sys
from collections.abc import Callable, Sequence

import typer

from service.cli import render
from service.cli.exits import Tally


def confirm(question: str) -> None:
    """Ask on the terminal, and leave the command unless the answer is yes."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask; say --yes", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)


def delete_each(ids: Sequence[str], delete: Callable[[str], None]) -> None:
    """Delete them one by one, say so, and leave the command with the worst code."""
    tally = Tally()
    for one in ids:
        with tally.going_on(one):
            delete(one)
            render.note(f"Deleted {one}.")
    tally.finish()
