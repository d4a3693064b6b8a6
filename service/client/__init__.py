"""The Python client: submit files, wait for jobs, watch them, download what they made.

`Filemill` blocks, `AsyncFilemill` is for event loops; both are `operations` over a `wire`, which alone does I/O.
`calls` says what to send; `answers` and `events` read what comes back.
"""

from service.client.answers import (
    ClientError,
    DamagedDownloadError,
    File,
    FileChangedError,
    Job,
    ProblemError,
    ProcessorInfo,
    ServerUnreachableError,
    Stats,
    UnsendableError,
    WaitTimeoutError,
)
from service.client.asynchronous import AsyncFilemill
from service.client.calls import SubmitOptions
from service.client.events import BrokenStreamError, Event, LogEvent, ProgressEvent, StateEvent
from service.client.sync import Filemill
from service.client.uploads import Source
from service.client.watching import WatchOptions
from service.naming import bare_name

__all__ = [
    "AsyncFilemill",
    "BrokenStreamError",
    "ClientError",
    "DamagedDownloadError",
    "Event",
    "File",
    "FileChangedError",
    "Filemill",
    "Job",
    "LogEvent",
    "ProblemError",
    "ProcessorInfo",
    "ProgressEvent",
    "ServerUnreachableError",
    "Source",
    "StateEvent",
    "Stats",
    "SubmitOptions",
    "UnsendableError",
    "WaitTimeoutError",
    "WatchOptions",
    "bare_name",
]
