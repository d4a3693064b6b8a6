"""`filemill files`: look at stored files, and delete them."""

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import render
from service.cli.deleting import confirm, delete_each
from service.cli.exits import ListGroup
from service.cli.options import Json, Url, connect
from service.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.client import File

app = typer.Typer(cls=ListGroup, help="Look at stored files, and delete them.")


@app.command("list")
def list_files(
    *,
    unused: Annotated[bool, typer.Option("--unused", help="Only files that no job has.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to print.")] = 20,
    all_files: Annotated[bool, typer.Option("--all", help="Print all of them.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """List files, the newest first. This is also what `filemill files` alone does."""
    with connect(url) as mill:
        files = mill.files(unused=unused or None, limit=None if all_files else limit)
        if json:
            render.print_json_array(_plain(file) for file in files)
        else:
            _print_files(files)


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="The ids of the files.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete files that no unfinished job needs."""
    if not yes:
        confirm(f"Delete {'this file' if len(ids) == 1 else f'these {len(ids)} files'}?")
    with connect(url) as mill:
        delete_each(ids, mill.delete_file)


def _plain(file: "File") -> dict[str, Any]:
    names = ("id", "name", "media_type", "size_bytes", "sha256")
    return {name: getattr(file, name) for name in names} | {"created_at": file.created_at.isoformat()}


def _print_files(files: "Iterable[File]") -> None:
    """Print them as a table, page by page."""
    rows, is_first = iter(files), True
    page = list(itertools.islice(rows, render.PAGE))
    if not page:
        render.note("No files.")
    while page:
        made, now = render.table("File", "Size", "Age", "Name"), SystemClock().now()
        made.show_header = is_first
        for column, width in zip(made.columns, (36, 8, 6), strict=False):
            column.min_width, column.no_wrap = width, True
        for file in page:
            waited = render.whole((now - file.created_at).total_seconds())
            made.add_row(render.plain(file.id), render.size(file.size_bytes), waited, render.plain(file.name))
        render.show(made)
        page, is_first = list(itertools.islice(rows, render.PAGE)), False
