"""Watching jobs to their ends: a line for each on a terminal, a line for each event where nobody watches."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer
from rich.text import Text

from service.cli.board import Standing, event_json, event_line
from service.cli.exits import ExitCode, Tally
from service.cli.render import json_line, note
from service.clock import SystemClock
from service.states import State

if TYPE_CHECKING:
    from rich.console import Console

    from service.client import AsyncFilemill, Event, Filemill

AT_ONCE = 50  # streams; each begins with the past of its job, so those that wait their turn miss nothing
FRAMES_PER_S = 8


class Audience(Protocol):
    """Those who hear of the jobs."""

    def hear(self, event: "Event") -> None:
        """Hear what happened."""
        ...

    def end(self, standing: Standing) -> None:
        """Hear that a job has ended."""
        ...

    def lose(self, *, lost: bool) -> None:
        """Hear that the server is gone, or there again."""
        ...


class Listing:
    """A line for each event, in words or in JSON."""

    def __init__(self, console: "Console", *, json: bool) -> None:
        self._console = console
        self._json = json
        self._lost = False

    def hear(self, event: "Event") -> None:
        if self._json:
            print(json_line(event_json(event)), flush=True)
        elif event.kind != "log":  # there is a command for that
            short = self._console.is_terminal
            line = event_line(event, short=short)
            if short:
                line.truncate(self._console.width, overflow="ellipsis")
            self._console.print(line, soft_wrap=True)

    def end(self, standing: Standing) -> None:
        pass

    def lose(self, *, lost: bool) -> None:
        if lost is not self._lost:
            note("The server is gone; looking for it." if lost else "The server is there again.")
        self._lost = lost


class Board:
    """A line for each job that changes as it runs, and stays when it has ended."""

    def __init__(self, console: "Console", standings: Sequence[Standing]) -> None:
        self._console = console
        self._standings = standings
        self._lost = False

    def hear(self, event: "Event") -> None:
        pass

    def end(self, standing: Standing) -> None:
        self._console.print(standing.line(SystemClock().now(), self._console.width), soft_wrap=True)

    def lose(self, *, lost: bool) -> None:
        self._lost = lost

    def frame(self) -> Text:
        """Return what has not ended, as far as the window goes, and a last line that counts."""
        now, width = SystemClock().now(), self._console.width
        left = [one for one in self._standings if not one.is_finished]
        left.sort(key=lambda one: one.state is not State.RUNNING)
        lines = [one.line(now, width) for one in left[: max(1, self._console.height - 3)]]
        if self._lost:
            lines.append(Text("The server is gone; looking for it …", "yellow"))
        elif len(self._standings) > 1 and left:
            failed = sum(one.state is State.FAILED for one in self._standings)
            words = f"{len(self._standings) - len(left)} of {len(self._standings)} finished"
            lines.append(Text(words + (f", {failed} failed" if failed else ""), "dim"))
        return Text("\n").join(lines)


def watch_to_the_end(url: str, standings: Sequence[Standing], console: "Console", *, json: bool = False) -> None:
    """Show the jobs until all have ended; the standings are then up to date.

    Raises:
        ProblemError: there is no such job.
        ServerUnreachableError: the server is gone, and did not come back in time.
    """
    with _audience(standings, console, json=json) as audience:
        asyncio.run(_follow_all(url, standings, audience))


@contextmanager
def _audience(standings: Sequence[Standing], console: "Console", *, json: bool) -> Iterator[Audience]:
    if json or not console.is_terminal:
        yield Listing(console, json=json)
        return
    from rich.live import Live  # noqa: PLC0415 - slow to import

    board = Board(console, standings)
    with Live(
        get_renderable=board.frame,
        console=console,
        refresh_per_second=FRAMES_PER_S,
        redirect_stdout=False,
        transient=True,
    ):
        yield board


async def _follow_all(url: str, standings: Sequence[Standing], audience: Audience) -> None:
    from service.client import AsyncFilemill  # noqa: PLC0415 - httpx is slow to import

    turn = asyncio.Semaphore(AT_ONCE)
    async with AsyncFilemill(url) as mill:
        await first_error([_follow(mill, one, audience, turn) for one in standings])


async def _follow(mill: "AsyncFilemill", standing: Standing, audience: Audience, turn: asyncio.Semaphore) -> None:
    async with turn:
        async for event in mill.watch(
            standing.job_id,
            on_connect=lambda: audience.lose(lost=False),
            on_loss=lambda _: audience.lose(lost=True),
        ):
            standing.take(event)
            audience.hear(event)
    audience.end(standing)


async def first_error(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all until the last ends, or until one fails: then the others are cancelled, and its error is raised."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def leave_or_cancel(mill: "Filemill", ids: Sequence[str], tally: Tally) -> None:
    """Ask on the terminal whether to cancel the jobs that have not finished; by default they go on."""
    left = [job for job in map(mill.get, ids) if not job.is_finished]
    if not left:
        return
    what = "This job has" if len(left) == 1 else f"{len(left)} jobs have"
    try:
        is_wish = typer.confirm(f"{what} not finished. Cancel?", default=False, err=True)
    except (typer.Abort, KeyboardInterrupt):
        is_wish = False
    for job in left if is_wish else ():
        with tally.going_on(job.id):
            mill.cancel(job.id)
    tally.note(ExitCode.REFUSED if is_wish else ExitCode.TIMED_OUT)
    note(f"Cancelled {len(left)}." if is_wish else "Left running; `filemill jobs watch` shows it again.")
