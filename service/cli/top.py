"""`filemill top`: the queue, the running jobs and the throughput, live."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import render
from service.cli.options import Json, Url, server_url
from service.cli.watching import first_error
from service.clock import SystemClock
from service.states import State

if TYPE_CHECKING:
    from service.cli.top_view import Picture
    from service.client import AsyncFilemill

STATS_S = 1.0
FRAME_S = 0.25
LEAVE = frozenset(b"qQ\x03\x04")


class _Leave(Exception):  # noqa: N818 - no error: somebody pressed q
    """Raised to leave."""


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one picture, and leave.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Watch the queue, the running jobs and the throughput; q or Ctrl-C leaves.

    Where nobody watches, and with --json, one picture is printed.
    """
    server = server_url(url)
    if once or json or not render.stdout().is_terminal:
        asyncio.run(_print_once(server, json=json))
        return
    with suppress(KeyboardInterrupt, _Leave):
        asyncio.run(_show(server))


async def _print_once(url: str, *, json: bool) -> None:
    from service.cli.top_view import MOST_RUNNING, Picture  # noqa: PLC0415 - not needed by other commands
    from service.client import AsyncFilemill  # noqa: PLC0415 - httpx is slow to import

    picture, console = Picture(url), render.stdout()
    async with AsyncFilemill(url) as mill:
        if json:
            stats = await mill.stats()
            running = [job.raw async for job in mill.list(state=State.RUNNING, limit=MOST_RUNNING)]
            render.print_json({"stats": stats.raw, "running": running})
            return
        await _look(mill, picture)
        await _look_at_jobs(mill, picture)
    render.show(picture.frame(SystemClock().now(), console.width, console.height), width=console.width)


async def _show(url: str) -> None:
    from service.cli.top_view import Picture  # noqa: PLC0415 - not needed by other commands
    from service.client import AsyncFilemill  # noqa: PLC0415 - httpx is slow to import

    picture = Picture(url)
    async with AsyncFilemill(url) as mill:
        await _look(mill, picture)  # without a server there is nothing to show
        connected = asyncio.Event()
        async with _keys() as pressed:
            await first_error(
                [
                    _read_events(mill, picture, connected),
                    _read_jobs(mill, picture, connected),
                    _read_stats(mill, picture),
                    _leave(pressed),
                    _draw(picture),
                ]
            )


async def _look(mill: "AsyncFilemill", picture: "Picture") -> None:
    picture.stats = await mill.stats()


async def _look_at_jobs(mill: "AsyncFilemill", picture: "Picture") -> None:
    from service.cli.top_view import MOST_RUNNING  # noqa: PLC0415 - not needed by other commands

    before = list(picture.running)
    picture.take_jobs(
        [job async for job in mill.list(state=State.RUNNING, limit=MOST_RUNNING, large=["inputs"])], before
    )


async def _read_stats(mill: "AsyncFilemill", picture: "Picture") -> None:
    from service.client import ClientError  # noqa: PLC0415 - httpx is slow to import

    while True:
        await asyncio.sleep(STATS_S)
        with suppress(ClientError):  # who reads the events tells of it
            await _look(mill, picture)


async def _read_jobs(mill: "AsyncFilemill", picture: "Picture", connected: asyncio.Event) -> None:
    """Ask which jobs run whenever there is a new connection: what happened before it is not in the stream."""
    from service.client import ClientError  # noqa: PLC0415 - httpx is slow to import

    while True:
        await connected.wait()
        connected.clear()
        with suppress(ClientError):
            await _look_at_jobs(mill, picture)


async def _read_events(mill: "AsyncFilemill", picture: "Picture", connected: asyncio.Event) -> None:
    def note_connection() -> None:
        picture.is_lost = False
        connected.set()

    def note_loss(_: Exception) -> None:
        picture.is_lost = True

    async for event in mill.watch(patience_s=None, on_connect=note_connection, on_loss=note_loss):
        picture.take_event(event)


async def _draw(picture: "Picture") -> None:
    from rich.live import Live  # noqa: PLC0415 - slow to import

    console = render.stdout()
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            live.update(picture.frame(SystemClock().now(), console.width, console.height, "q leaves"), refresh=True)
            await asyncio.sleep(FRAME_S)


async def _leave(pressed: asyncio.Event) -> None:
    await pressed.wait()
    raise _Leave


@asynccontextmanager
async def _keys() -> AsyncIterator[asyncio.Event]:
    """Give an event that is set by q; without a keyboard it never is."""
    pressed = asyncio.Event()
    if not sys.stdin.isatty():
        yield pressed
        return
    import termios  # noqa: PLC0415 - not on every system
    import tty  # noqa: PLC0415

    keyboard = sys.stdin.fileno()

    def read() -> None:
        try:
            keys = os.read(keyboard, 64)
        except OSError:
            keys = b""
        if not keys or LEAVE & set(keys):  # no keys: the terminal is gone, and would say so for ever
            pressed.set()

    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    asyncio.get_running_loop().add_reader(keyboard, read)
    try:
        yield pressed
    finally:
        asyncio.get_running_loop().remove_reader(keyboard)
        with suppress(termios.error):
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
