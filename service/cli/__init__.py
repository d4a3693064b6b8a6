"""The `filemill` command.

Nothing slow is imported here: a command imports what it needs when it runs, so that help and completion are
quick.
"""

from typing import Annotated

import typer

from service.cli import admin, files, jobs, logs, processors, run, serve, submit, top
from service.cli.exits import FilemillGroup
from service.cli.streams import prepare_streams

app = typer.Typer(
    name="filemill",
    cls=FilemillGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve", cls=serve.ServeCommand)(serve.serve)
app.command("submit")(submit.submit)
app.add_typer(jobs.app, name="jobs")
app.add_typer(files.app, name="files")
app.command("logs")(logs.logs)
app.command("top")(top.top)
app.add_typer(processors.app, name="processors")
app.command("run")(run.run)
app.command("migrate")(admin.migrate)
app.command("settings", cls=serve.ServeCommand)(admin.settings)


def main() -> None:
    """Run the command line."""
    prepare_streams()
    app(prog_name="filemill")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from service.version import version  # noqa: PLC0415 - slow to import

        typer.echo(f"filemill {version()}")
        raise typer.Exit


@app.callback()
def _filemill(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Take files over HTTP, and process them in the background without losing one."""
