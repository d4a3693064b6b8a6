"""Log lines: a constant message, and facts as fields, for people or for programs."""

import logging
import select
import sys
from contextlib import suppress
from typing import Any, Literal

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
    it reads on.
    """

    def __init__(self) -> None:
        self._is_stuck = False

    def write(self, text: str) -> None:
        with suppress(Exception):
            for start in range(0, len(text), _PIECE_CHARS):
                if not self._has_room():
                    return
                sys.stderr.write(text[start : start + _PIECE_CHARS])
                sys.stderr.flush()

    def _has_room(self) -> bool:
        try:
            number = sys.stderr.fileno()
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
