"""`filemill migrate` and `filemill settings`: what an operator needs beside the server."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from service.cli import render
from service.cli.options import Json

_UNITS = {"s": "s", "bytes": "bytes"}


def migrate(
    data_dir: Annotated[
        str | None,  # a path would take an empty text for this folder
        typer.Option("--data-dir", metavar="FOLDER", help="The data folder; default: FILEMILL_DATA_DIR."),
    ] = None,
) -> None:
    """Bring the database to the shape that this version needs.

    The server does the same when it starts. Back up the data folder before.
    """
    from service.ownership import owned  # noqa: PLC0415 - not needed by other commands
    from service.settings import load_settings  # noqa: PLC0415 - slow to import
    from service.store.migrate import upgrade  # noqa: PLC0415
    from service.store.shrinking import make_shrinkable  # noqa: PLC0415

    folder = load_settings(data_dir=data_dir).data_dir
    path = folder / "filemill.db"
    with owned(folder):
        before, after = upgrade(path)
        make_shrinkable(path)
    if before is None:
        render.note(f"Made the database {path}, at revision {after}.")
    elif before == after:
        render.note(f"The database {path} is up to date, at revision {after}.")
    else:
        render.note(f"Migrated the database {path} from revision {before} to {after}.")


def settings(ctx: typer.Context, *, json: Json = False) -> None:
    """Print every setting: what it is, where it came from and what it means.

    Takes the flags of `filemill serve`, to show what they would do.
    """
    from service.environment import CURE, read_variables  # noqa: PLC0415
    from service.settings import load_settings  # noqa: PLC0415 - slow to import

    rows = list(_rows(load_settings(**ctx.obj), ctx.obj))
    if links := read_variables(os.environ).links:
        render.note(f"Ignored, for Kubernetes makes them of a Service: {', '.join(links)}; {CURE}.")
    if json:
        render.print_json(rows)
        return
    wide = render.is_wide()
    table = render.table("Variable" if wide else "Setting", "Value", "From", "Meaning")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for row in rows:
        name = row["variable"] if wide else row["name"]
        table.add_row(name, _value(row["value"], row["unit"]), row["source"], row["meaning"])
    render.show(table)
    render.note("")
    render.note("The variable of data_dir is FILEMILL_DATA_DIR, its flag is --data-dir; and so on.")


def _value(value: Any, unit: str | None) -> str:
    if value is None:
        return "none"
    return render.exact(value, unit) if unit else render.plain(value)


def _rows(settings: Any, flags: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from service.environment import read_variables  # noqa: PLC0415
    from service.settings import environment_name  # noqa: PLC0415 - slow to import

    environment = read_variables(os.environ).texts
    for name, field in type(settings).model_fields.items():
        variable = environment_name(name)
        is_set = "environment" if variable in environment else "default"
        yield {
            "name": name,
            "variable": variable,
            "value": settings.model_dump(mode="json")[name],
            "unit": _UNITS.get(name.rpartition("_")[2]),
            "source": "flag" if flags.get(name) is not None else is_set,
            "meaning": field.description,
        }
