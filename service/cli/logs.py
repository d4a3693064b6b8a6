"""`filemill logs`: what a job says."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli import render
from service.cli.board import event_json
from service.cli.options import JobId, Json, Url, connect

if TYPE_CHECKING:
    from rich.console import Console

    from service.client import LogEvent

MAX_SHOWN = 1000  # characters of a line; a terminal is no place for a megabyte
_INDENT = "\n          "  # below the time: what follows a line end is no line of its own


def logs(
    job_id: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Print the log of a job; with --follow, each line as it comes.

    Long lines are cut; --json prints them whole, one object a line.
    """
    from service.client import LogEvent  # noqa: PLC0415 - httpx is slow to import

    console, attempt = render.stdout(), 1
    with connect(url) as mill:
        for event in mill.watch(job_id, follow=follow):
            if not isinstance(event, LogEvent):
                continue
            if event.attempt > attempt and not json:
                render.note(f"attempt {event.attempt}:")
            attempt = event.attempt
            if json:
                print(render.json_line(event_json(event)), flush=True)
            else:
                _print_line(console, event)


def _print_line(console: "Console", event: "LogEvent") -> None:
    words = event.message
    shown = render.plain(words[:MAX_SHOWN], lines=True).rstrip().replace("\n", _INDENT)
    line = Text.assemble((f"{event.at:%H:%M:%S}", "dim"), "  ", shown)
    if len(words) > MAX_SHOWN:
        line.append(f" … ({len(words):,} characters; --json prints all)", "dim")
    if event.fields:
        line.append("  " + render.cut(render.json_line(event.fields), MAX_SHOWN), "dim")
    console.print(line, soft_wrap=True)
