"""Log lines: a constant message, and facts as fields, for people or for programs."""

import logging
import sys
from contextlib import suppress
from typing import Any, Literal

import structlog

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

    Nor must a stream that was closed meanwhile: a thread may have something to say at any time.
    """

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def _plain(stream: Any, info: Any) -> None:
    structlog.dev.plain_traceback(stream, info)
