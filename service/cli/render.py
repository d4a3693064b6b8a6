"""What people read: tables and sentences. Data goes to standard output, messages to standard error.

Names, messages and results come from strangers: every one passes `plain`, and none is read as markup.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.clock import SystemClock
from service.states import State

if TYPE_CHECKING:
    from service.client import Job

WIDE = 110
PAGE = 500
_ENDLESS = 100_000  # columns
STATE_STYLES = {
    State.QUEUED: "cyan",
    State.RUNNING: "yellow",
    State.SUCCEEDED: "green",
    State.FAILED: "bold red",
    State.CANCELLED: "magenta",
}
# C0 and C1 controls, invisible and direction-changing characters, halves of surrogate pairs
_TRICKS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def stdout() -> Console:
    """Return the console for data."""
    return Console(highlight=False, markup=False, emoji=False)


def is_wide() -> bool:
    """Return whether there is room for what is good to know, too."""
    return _paper().width >= WIDE


def _paper() -> Console:
    """Return the console for what is read line by line: a pipe has no width, unless COLUMNS gives it one."""
    console = stdout()
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _ENDLESS
    return console


def stderr() -> Console:
    """Return the console for messages."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


# ---- words


def plain(text: object, *, lines: bool = False) -> str:
    r"""Return the text with everything that could fool a terminal made visible, such as `\x1b`.

    With `lines`, line ends and tabs are kept.
    """

    def shown(match: re.Match[str]) -> str:
        one = match.group()
        return one if lines and one in "\n\t" else one.encode("unicode_escape").decode()

    return _TRICKS.sub(shown, str(text))


def cut(text: object, limit: int) -> str:
    """Return one line of at most `limit` characters that could fool no terminal; `…` stands for what is missing."""
    whole_text = str(text)
    shown = plain(whole_text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def size(count: float) -> str:
    """Return bytes for people: `516 KiB`."""
    if count == 1:
        return "1 byte"
    for unit in _UNITS[:-1]:
        if count < 1024:  # noqa: PLR2004
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"  # noqa: PLR2004
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def duration(seconds: float) -> str:
    """Return how long something took, for people: `15 ms`, `3.2 s`, `5 min`."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.2g} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
    return whole(seconds)


def whole(seconds: float) -> str:
    """Return a duration in whole units: `0 s`, `59 s`, `5 min`."""
    length, unit = next((one for one in _AGES if seconds >= one[0]), _AGES[-1])
    return f"{int(seconds / length)} {unit}"


def exact(value: float, unit: str) -> str:
    """Return a setting in the largest unit that loses nothing: `256 MiB`, `7 d`, `90 s`."""
    if unit == "bytes":
        power = max(power for power in range(4) if value % 1024**power == 0) if value else 0
        return f"{int(value) // 1024**power} {_UNITS[power]}"
    length, name = next((one for one in _AGES if value and value % one[0] == 0), _AGES[-1])
    return f"{value / length:g} {name}"


def age(instant: datetime, now: datetime) -> str:
    """Return how long ago, or how far ahead: `5 min ago`, `in 3 h`."""
    seconds = (now - instant).total_seconds()
    if seconds < 0:
        return f"in {whole(-seconds)}"
    return f"{whole(seconds)} ago" if seconds >= 1 else "just now"


def state_text(job: "Job") -> Text:
    """Return the state in its colour, with the progress of a running job."""
    words = job.state.value
    if job.state is State.RUNNING and job.progress_fraction > 0:
        words += f" {job.progress_fraction:.0%}"
    return Text(words, STATE_STYLES[job.state])


# ---- messages


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    stderr().print(Text.assemble(("Error: ", "bold red"), plain(message)), soft_wrap=True)


def note(message: str) -> None:
    """Say something on standard error."""
    stderr().print(plain(message), soft_wrap=True)


# ---- data


def show(*parts: RenderableType, width: int | None = None) -> None:
    """Print on standard output; where nobody watches, without a width and the blanks that fill lines up."""
    console = _paper()
    console.width = width or console.width
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def json_line(value: Any) -> str:
    """Return JSON on one line, and the same care."""
    return json_text(value, indent=None)


def json_text(value: Any, indent: int | None = 2) -> str:
    """Return JSON that a terminal cannot be fooled by; outside ASCII only strings differ, by an escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _TRICKS.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json_text(value))


def print_json_array(values: Iterable[Any]) -> None:
    """Print a JSON array, each value as soon as it comes."""
    separator = "["
    for value in values:
        print(separator, json_text(value), sep="\n", end="")
        separator = ","
    print("[]" if separator == "[" else "\n]")


def table(*columns: str) -> Table:
    """Return an empty table whose cells fold rather than lose something."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def grid() -> Table:
    """Return an empty table of labels and values."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def print_panel(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print labels and their meanings in a frame like those of the help."""
    body = grid()
    for row in rows:
        body.add_row(*row)
    show(Panel(body, title=title, title_align="left", border_style="dim"), width=stdout().width)


def shown_fields() -> list[str]:
    """Return those fields that can be large of which a table of jobs shows something."""
    return ["inputs"] if is_wide() else []


def print_jobs(jobs: Iterable["Job"], if_none: str = "No jobs.") -> None:
    """Print jobs as a table, one line each; wide terminals also get the names of the files.

    Rows are printed by the page, and nothing else is kept of the jobs: a list of any length takes little memory.
    """
    wide = is_wide()
    rows = (_cells(job, wide=wide) for job in jobs)
    page, is_first = list(itertools.islice(rows, PAGE)), True
    if not page and if_none:
        note(if_none)
    while page:
        show(_jobs_table(page, wide=wide, header=is_first))
        page, is_first = list(itertools.islice(rows, PAGE)), False


def _cells(job: "Job", *, wide: bool) -> list[str | Text]:
    names = ", ".join(plain(file.name) for file in job.inputs) if wide else ""
    waited = whole((SystemClock().now() - job.created_at).total_seconds())
    attempt = f"{job.attempt}/{job.max_attempts}"
    return [plain(job.id), state_text(job), plain(job.processor), attempt, waited, *([names] if wide else [])]


def _jobs_table(rows: Iterable[Sequence[str | Text]], *, wide: bool, header: bool) -> Table:
    made = table("Job", "State", "Processor", "Try", "Age")
    made.show_header = header
    for column, width in zip(made.columns, (36, 9, 16, 3, 6), strict=True):
        column.min_width, column.no_wrap = width, width != 16  # noqa: PLR2004 - only the processor may fold
    if wide:
        made.add_column("Files", overflow="ellipsis", no_wrap=True)
    for cells in rows:
        made.add_row(*cells)
    return made
