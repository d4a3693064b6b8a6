"""What happens to jobs, as values: the events of a stream, and the reading of it. No I/O.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from service.client.answers import ClientError
from service.states import TERMINAL, State

MAX_LINE_CHARS = 16 * 1024**2  # what sends longer ones is no Filemill server
MAX_DIGITS = 18
MAX_RETRY_S = 60.0
_LINE_END = re.compile("\r\n|\n|\r")


class BrokenStreamError(ClientError):
    """What arrived is not a stream of events."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job. `raw` is what the server said, with whatever a newer server adds."""

    kind: ClassVar[str]
    id: int
    job_id: str
    processor: str
    at: datetime
    attempt: int
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class StateEvent(Event):
    """The job changed its state. `reason` says why; `error` has a `code` and a `message` where one was the cause."""

    kind: ClassVar[str] = "state"
    state: State
    reason: str
    error: dict[str, Any] | None
    run_after: datetime | None

    @property
    def is_end(self) -> bool:
        """Whether the job has come to an end, good or bad."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True)
class ProgressEvent(Event):
    """How far the job is, from 0 to 1."""

    kind: ClassVar[str] = "progress"
    fraction: float
    message: str


@dataclass(frozen=True, slots=True)
class LogEvent(Event):
    """A line of the job's log."""

    kind: ClassVar[str] = "log"
    message: str
    fields: dict[str, Any]


@dataclass(slots=True)
class Block:
    """What stands between two empty lines of a stream; without `data` it is no event."""

    kind: str = "message"
    id: int | None = None
    retry_s: float | None = None
    data: str | None = None
    is_comment: bool = False


class BlockReader:
    """Reads a stream piece by piece, however it was cut on its way."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._block = Block()
        self._is_empty = True

    def feed(self, piece: bytes) -> Iterator[Block]:
        """Yield the blocks that are whole now.

        Raises:
            BrokenStreamError: a line does not end.
        """
        text = self._rest + self._decoder.decode(piece)
        start = 0
        for end in _LINE_END.finditer(text):
            if end.end() == len(text) and end[0] == "\r":
                break  # the other half of \r\n may follow
            if block := self._take(text[start : end.start()]):
                yield block
            start = end.end()
        self._rest = text[start:]
        if len(self._rest) > MAX_LINE_CHARS:
            raise BrokenStreamError(f"a line of the stream is longer than {MAX_LINE_CHARS} characters")

    def _take(self, line: str) -> Block | None:
        if line:
            self._is_empty = False
            self._set(*line.partition(":")[::2])
            return None
        block, self._block = self._block, Block()
        is_empty, self._is_empty = self._is_empty, True
        return None if is_empty else block

    def _set(self, name: str, value: str) -> None:
        value = value.removeprefix(" ")
        block = self._block
        match name:
            case "":
                block.is_comment = True
            case "event":
                block.kind = value
            case "id" if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
                block.id = int(value)
            case "retry" if value.isascii() and value.isdigit():
                block.retry_s = min(int(value[:9]) / 1000, MAX_RETRY_S)
            case "data":
                block.data = value if block.data is None else f"{block.data}\n{value}"


def parse_event(block: Block) -> Event | None:
    """Read an event; None for a block without data or id, or of a kind that is not known here.

    Raises:
        BrokenStreamError: it is no event of a Filemill server.
    """
    if block.data is None:
        return None
    try:
        return None if block.id is None else _event(block.kind, block.id, json.loads(block.data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BrokenStreamError("the stream does not hold events as a Filemill server sends them") from error


def _event(kind: str, number: int, data: dict[str, Any]) -> Event | None:
    moment = datetime.fromisoformat(data["at"])
    facts = (number, data["job_id"], data["processor"], moment, data["attempt"], data)
    match kind:
        case "state":
            run_after = data.get("run_after")
            later = None if run_after is None else datetime.fromisoformat(run_after)
            return StateEvent(*facts, State(data["state"]), data["reason"], data.get("error"), later)
        case "progress":
            return ProgressEvent(*facts, float(data["fraction"]), data["message"] or "")
        case "log":
            return LogEvent(*facts, data["message"], data["fields"])
    return None
