"""One job in full: all that is known of it, except that long texts are shown by their ends."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from service.cli import render
from service.cli.render import plain
from service.clock import SystemClock
from service.states import State

if TYPE_CHECKING:
    from service.client import File, Job

MAX_SHOWN, MAX_FILES = 6000, 50  # characters of a text, and files; a terminal is no place for a megabyte
_TAIL = 1500  # characters: the last lines of a traceback say most


def print_job(job: "Job") -> None:
    """Print all that is known of a job."""
    facts = render.grid()
    for label, value in _facts(job, SystemClock().now()):
        facts.add_row(label, value)
    render.show(facts)


def _facts(job: "Job", now: datetime) -> Iterator[tuple[str, Text]]:
    yield "Job", Text(plain(job.id))
    yield "Processor", Text(plain(job.processor))
    yield "State", render.state_text(job)
    if job.progress_message:
        yield "Progress", Text(plain(job.progress_message))
    if job.error is not None:
        yield "Error", _error_text(job.error, _all_of(job))
    yield "Attempt", Text(f"{job.attempt} of {job.max_attempts}, each at most {render.duration(job.timeout_s)}")
    if losses := job.raw.get("losses"):
        often = "once" if losses == 1 else f"{losses} times in a row"
        yield "Losses", Text(f"the server died {often} while the job ran")
    yield from _moments(job, now)
    yield from _matter(job)


def _matter(job: "Job") -> Iterator[tuple[str, Text]]:
    if job.priority:
        yield "Priority", Text(str(job.priority))
    for label, value in (("Params", job.params), ("Metadata", job.metadata)):
        if value:
            yield label, Text(plain(_shortened(json.dumps(value, ensure_ascii=False), _all_of(job)), lines=True))
    for label, files in (("Inputs", job.inputs), ("Outputs", job.outputs)):
        if files:
            yield label, _files_text(files, _all_of(job))
    if job.result is not None:
        yield "Result", Text(_shortened(render.json_text(job.result), _all_of(job)))


def _all_of(job: "Job") -> str:
    return f"`filemill jobs show {render.cut(job.id, 100)} --json` prints all"


def _files_text(files: Sequence["File"], more: str) -> Text:
    shown = [_file_text(one) for one in files[:MAX_FILES]]
    if len(files) > MAX_FILES:
        shown.append(Text(f"… and {len(files) - MAX_FILES:,} more; {more}"))
    return Text("\n").join(shown)


def _moments(job: "Job", now: datetime) -> Iterator[tuple[str, Text]]:
    yield "Created", _moment(job.created_at, now)
    if job.state is State.QUEUED and job.run_after is not None and job.run_after > now:
        yield "Runs", _moment(job.run_after, now)
    if job.started_at is not None:
        yield "Started", _moment(job.started_at, now)
    if job.finished_at is not None:
        yield "Finished", _moment(job.finished_at, now)
    if job.started_at is not None and job.finished_at is not None:
        yield "Took", Text(render.duration((job.finished_at - job.started_at).total_seconds()))


def _moment(instant: datetime, now: datetime) -> Text:
    return Text.assemble(f"{instant:%Y-%m-%d %H:%M:%S %Z} ", (f"({render.age(instant, now)})", "dim"))


def _file_text(file: "File") -> Text:
    """Return the name, and below it the rest: an id must not be broken to make room for a name."""
    about = f"{file.id}  {render.size(file.size_bytes)}  {file.media_type}"
    return Text.assemble(plain(file.name), "\n  ", (plain(about), "dim"))


def _error_text(error: dict[str, Any], more: str) -> Text:
    """Return code and message, then whatever else the server says of it, such as a traceback."""
    message = plain(_shortened(str(error.get("message", "")), more), lines=True)
    first = Text.assemble((plain(error.get("code", "error")), "red"), ": ", message)
    rest = {name: value for name, value in error.items() if name not in ("code", "message") and value}
    for name, value in rest.items():
        shown = plain(_shortened(str(value), more), lines=True).strip()
        first.append("\n" + (shown if "\n" in shown else f"{plain(name)}: {shown}"), "dim")
    return first


def _shortened(text: str, more: str) -> str:
    """Return the text, or if it is long its begin and its end, with a line between that says where `more` is."""
    if len(text) <= MAX_SHOWN:
        return text
    head, tail = text[: MAX_SHOWN - _TAIL], text[-_TAIL:]
    return f"{head}\n… {len(text) - MAX_SHOWN:,} of {len(text):,} characters are left out; {more} …\n{tail}"
