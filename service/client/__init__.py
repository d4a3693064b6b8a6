"""The Python client: submit files, wait for jobs, download what they made.

    with Filemill("http://127.0.0.1:8000") as mill:
        job = mill.submit("image.thumbnail", [Path("photo.jpg")], {"width": 800}, wait_s=30)
        for file in job.outputs:
            mill.download(file.id, Path("thumbnails"))

`calls` says what to send and `answers` reads what came back; neither does any I/O. `sync` sends.
"""

from service.client.answers import (
    ClientError,
    DamagedDownloadError,
    File,
    Job,
    ProblemError,
    ProcessorInfo,
    ServerUnreachableError,
    WaitTimeoutError,
)
from service.client.calls import SubmitOptions
from service.client.downloads import bare_name
from service.client.sync import Filemill
from service.client.uploads import Source

__all__ = [
    "ClientError",
    "DamagedDownloadError",
    "File",
    "Filemill",
    "Job",
    "ProblemError",
    "ProcessorInfo",
    "ServerUnreachableError",
    "Source",
    "SubmitOptions",
    "WaitTimeoutError",
    "bare_name",
]
