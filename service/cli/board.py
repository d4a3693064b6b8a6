"""Jobs as somebody watches them: one line each, that changes as events come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import set_cell_size
from rich.text import Text

from service.cli.render import STATE_STYLES, cut, duration, whole
from service.states import TERMINAL, State

if TYPE_CHECKING:
    from service.client import Event, Job

LABEL, STATE, TIME, BAR = 20, 9, 7, 10
_ROOM = 200  # characters of a message, at most


@dataclass(slots=True)
class Standing:
    """How a job stands. `label` is what people know it by."""

    job_id: str
    label: str
    state: State = State.QUEUED
    fraction: float = 0.0
    message: str = ""
    attempt: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return self.state in TERMINAL

    def take(self, event: "Event") -> None:
        """Learn what happened."""
        match event.raw:
            case {"state": state, **rest}:
                self._move(State(state), event.at, rest)
            case {"fraction": fraction, "message": message}:
                self.fraction, self.message = float(fraction), message or ""
        self.attempt = event.attempt

    def _move(self, state: State, at: datetime, facts: dict[str, Any]) -> None:
        self.state = state
        self.ended_at = at if self.is_finished else None
        error = facts.get("error")
        self.message = _reason(error) if error else ""
        if state is State.RUNNING:
            self.started_at, self.fraction = at, 0.0
        elif state is State.QUEUED:
            self.started_at = None

    def line(self, now: datetime, width: int) -> Text:
        """Return the job in one line: what it is, how it stands, since when, how far, and what it says."""
        line = Text(no_wrap=True, overflow="crop", end="")
        line.append(set_cell_size(_fitting(self.label, LABEL), LABEL) + "  ")
        line.append(self.state.value.ljust(STATE) + "  ", STATE_STYLES[self.state])
        line.append(self._time(now).rjust(TIME) + "  ", "dim")
        if self.state is State.RUNNING and self.fraction > 0:
            line.append_text(bar(self.fraction, BAR))
            line.append(f" {self.fraction:4.0%}  ")
        line.append(_fitting(self.message, max(0, width - line.cell_len)), "red" if self.state is State.FAILED else "")
        return line

    def _time(self, now: datetime) -> str:
        if self.started_at is None:
            return ""
        if self.ended_at is not None:
            return duration((self.ended_at - self.started_at).total_seconds())
        return whole(max(0.0, (now - self.started_at).total_seconds()))


def bar(fraction: float, width: int) -> Text:
    """Return a bar that is filled so far."""
    filled = round(min(1.0, max(0.0, fraction)) * width)
    return Text.assemble(("━" * filled, "yellow"), ("━" * (width - filled), "bright_black"))


def label_of(job: "Job") -> str:
    """Return what people know a job by: its files, or else its processor."""
    first = job.inputs[0].name if job.inputs else job.processor
    return first if job.input_count <= 1 else f"{first} +{job.input_count - 1}"


def event_line(event: "Event", *, short: bool = False) -> Text:
    """Return an event in one line, for those who read a list of them; the short form is for a window."""
    moment = f"{event.at.astimezone():%H:%M:%S}" if short else f"{event.at:%Y-%m-%dT%H:%M:%SZ}"
    line = Text.assemble((moment, "dim"), "  ", cut(event.job_id, LABEL * 2), "  ")
    for words, style in _words(event):
        line.append(words, style)
    return line


def event_json(event: "Event") -> dict[str, Any]:
    """Return an event for programs."""
    return {"id": event.id, "event": event.kind, **event.raw}


def _words(event: "Event") -> Iterator[tuple[str, str]]:
    match event.raw:
        case {"state": state, **rest}:
            error: Any = rest.get("error")
            yield State(state).value, STATE_STYLES[State(state)]
            yield f"  {cut(event.processor, 60)}", ""
            if state == State.RUNNING and event.attempt > 1:
                yield f"  attempt {event.attempt}", ""
            if error:
                yield f"  {cut(_reason(error), _ROOM)}", "red"
        case {"fraction": fraction, "message": message}:
            yield f"{float(fraction):.0%}  {cut(message or '', _ROOM)}".rstrip(), ""


def _reason(error: Any) -> str:
    return f"{error.get('code', 'error')}: {error.get('message', '')}"


def _fitting(text: str, width: int) -> str:
    """Return the text within so many columns; some characters take two."""
    shown = Text(cut(text, _ROOM))
    shown.truncate(width, overflow="ellipsis")
    return shown.plain
