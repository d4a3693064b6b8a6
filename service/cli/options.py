"""The options that several commands share, and the way to the server."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.client import Filemill

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The server; default: FILEMILL_URL or http://127.0.0.1:8000."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The id of the job.")]
JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="The ids of the jobs.")]
TimeoutS = Annotated[
    float | None,
    typer.Option("--timeout-s", min=0, metavar="SECONDS", help="Give up waiting after this time."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that have the names of the outputs.")]


def connect(url: str | None) -> "Filemill":
    """Return a client for the server that the flag or the environment names."""
    from service.client import Filemill  # noqa: PLC0415 - httpx is slow to import

    return Filemill(server_url(url))


def server_url(url: str | None) -> str:
    """Return the URL of the server that the flag or the environment names."""
    from service.settings import load_settings  # noqa: PLC0415 - pydantic-settings is slow to import

    return load_settings(url=url).url
