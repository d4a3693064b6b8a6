"""`filemill serve`: run the server."""

import os

import typer

from service.cli.flags import SettingsCommand
from service.garbage import leave_the_start_alone


class ServeCommand(SettingsCommand):
    """A flag for each setting."""


def serve(ctx: typer.Context) -> None:
    """Run the server until it is told to stop (Ctrl-C or SIGTERM).

    Every flag is also a variable: --data-dir is FILEMILL_DATA_DIR. The flag wins.
    """
    leave_the_start_alone()
    from service.environment import put_flags  # noqa: PLC0415 - not needed for help
    from service.settings import environment_name, load_settings  # noqa: PLC0415 - slow to import

    settings = load_settings(**ctx.obj)
    # Processors read their settings (mail server, outgoing rules) from the environment, in whatever process they run.
    put_flags(os.environ, {environment_name(name): value for name, value in ctx.obj.items() if value is not None})
    from service.app import serve as serve_until_stopped  # noqa: PLC0415 - slow, and no use if a setting is wrong

    serve_until_stopped(settings)
