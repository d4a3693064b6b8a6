"""Log lines: a constant message, and facts as fields, for people or for programs."""

import io
import logging
import os
import select
import sys
import weakref
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog

_PATIENCE_MS = 500
_PIECE_CHARS = 1024  # at most 4 KiB: a pipe that has room has room for that
_FRAMES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold contents and passwords


def set_up_logs(level: str, form: Literal["text", "json"]) -> None:
    """Send every log line of the process, uvicorn's too, to standard error in one form."""
    stream: Any = LossyErrors()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [structlog.processors.ExceptionRenderer(_FRAMES), structlog.processors.JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # it warns of each line of a form that it does not know: we read that line, or answer with what is wrong
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


class LossyErrors:
    """Standard error. A line that cannot be written is lost: a full disk must not become a failed request.

    Nor must a stream that was closed meanwhile, or that code in the server has put something else in the place of. Nor
    must a pipe or a terminal whose other end has stopped to read: it is waited for once, and then lines are lost until
    it reads on. Where standard error was closed in this process, a copy of it that was made before is written to.
    """

    def __init__(self) -> None:
        self._is_stuck = False
        self._copy: io.TextIOWrapper | None = None
        with suppress(Exception):
            number = os.dup(sys.stderr.fileno())
            self._copy = open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            weakref.finalize(self, os.close, number)

    def write(self, text: str) -> None:
        with suppress(Exception):
            stream = self._stream()
            for start in range(0, len(text), _PIECE_CHARS):
                if not self._has_room(stream):
                    return
                stream.write(text[start : start + _PIECE_CHARS])
                stream.flush()

    def _stream(self) -> TextIO:
        # somebody may have put there what only writes
        is_open = sys.stderr is not None and not getattr(sys.stderr, "closed", False)
        return sys.stderr if is_open or self._copy is None else self._copy

    def _has_room(self, stream: TextIO) -> bool:
        try:
            number = stream.fileno()
        except Exception:  # noqa: BLE001 - whatever somebody has put there
            return True  # it is no file
        room = select.poll()
        room.register(number, select.POLLOUT)
        self._is_stuck = not room.poll(0 if self._is_stuck else _PATIENCE_MS)
        return not self._is_stuck

    def flush(self) -> None:
        with suppress(Exception):
            sys.stderr.flush()


def _plain(stream: Any, info: Any) -> None:
    structlog.dev.plain_traceback(stream, info)
