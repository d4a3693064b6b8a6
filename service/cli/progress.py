"""Bars and spinners, on standard error and only for people: a pipe or a log gets none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.cli.render import plain, size, stderr

if TYPE_CHECKING:
    from service.client import Job

Moved = Callable[[int, int | None], None]


@contextmanager
def transfer_bar(words: str) -> Iterator[Moved | None]:
    """Give a function to call with the bytes so far and in all; None where nobody watches."""
    console = stderr()
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - slow to import

    label, amount = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[moved]"))
    with Progress(label, BarColumn(), amount, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(_short(words), start=False, total=None, moved="")

        def moved(done: int, total: int | None) -> None:
            progress.start_task(task)
            progress.update(task, completed=done, total=total, moved=_amount(done, total, progress.tasks[0].speed))

        yield moved


def _amount(done: int, total: int | None, speed: float | None) -> str:
    """Return `3.2 MiB of 9.9 MiB, 1.1 MiB/s`, as far as it is known."""
    words = size(done) if total is None else f"{size(done)} of {size(total)}"
    return f"{words}, {size(speed)}/s" if speed else words


@contextmanager
def waiting(words: str) -> Iterator[Callable[["Job"], None] | None]:
    """Show a spinner, and give a function to call with the job as it stands; None where nobody watches."""
    console = stderr()
    if not console.is_terminal:
        yield None
        return
    with console.status(_short(words)) as status:

        def update(job: "Job") -> None:
            stage = f"{job.progress_fraction:.0%} {job.progress_message}" if job.progress_fraction else ""
            status.update(_short(f"{words}: {job.state.value} {stage}".rstrip()))

        yield update


def _short(words: str) -> str:
    shown = plain(words)
    return shown if len(shown) <= 60 else shown[:59] + "…"  # noqa: PLR2004
