"""The client that sends and waits: one thread, one connection pool."""

import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, Unpack, cast

import httpx

from service.client.answers import (
    File,
    Job,
    ProcessorInfo,
    ServerUnreachableError,
    WaitTimeoutError,
    parse_file,
    parse_job,
    parse_page,
    parse_processor,
    parse_processors,
    read_answer,
    refuse_problem,
)
from service.client.calls import (
    Call,
    SubmitOptions,
    file_call,
    job_call,
    jobs_call,
    processors_call,
    submit_call,
)
from service.client.downloads import open_part, place, write_checked
from service.client.uploads import Moved, Reader, Source, open_readers, total_size
from service.clock import Clock, SystemClock
from service.errors import SettingsError
from service.settings import load_settings
from service.states import State

T = TypeVar("T")

CONNECT_S = 10.0
PATIENCE_S = 60.0  # how long a server may be silent
SLOWEST_SYNC_BYTES_S = 10 * 1024**2  # it may be silent longer after an upload: it has to reach the disk
LONGEST_WAIT_S = 30.0  # of one request; `wait` repeats it
UPDATE_S = 1.0
PAUSE_S = 0.5
PIECE_BYTES = 256 * 1024


class Filemill:
    """A Filemill server, seen from Python. Use it as a context manager, or `close` it.

    `url` None is the setting FILEMILL_URL. Every method raises `ProblemError` when the server says no and
    `ServerUnreachableError` when there is none.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = load_settings().url if url is None else url
        parsed = _checked(self.url)
        self._http = httpx.Client(
            base_url=parsed,
            transport=transport,
            # the certificates take 50 ms to load, and http:// has no use for them; redirects are not followed
            verify=parsed.scheme == "https",
            # a proxy cannot reach a server on this machine
            trust_env=not _is_loopback(parsed.host),
            headers={"Accept": "application/json"},
        )
        self._clock = clock or SystemClock()
        self._sleep = sleep

    def submit(
        self,
        processor: str,
        files: Sequence[Path | Source] = (),
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        wait_s: float | None = None,
        on_progress: Moved | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Send files to a processor and return the job, at once or after up to `wait_s`.

        The files are read piece by piece while they are sent. With an `idempotency_key` the same call can be
        made again without making a second job.

        Raises:
            OSError: a file cannot be read.
        """
        fields = {"processor": processor, "params": dict(params or {}), **options}
        call = submit_call(fields, with_files=bool(files), wait_s=wait_s, idempotency_key=idempotency_key)
        with open_readers(files, on_progress) as readers:
            return read_answer(self._send(call, readers), parse_job)

    def get(self, job_id: str, *, wait_s: float | None = None) -> Job:
        """Return a job, at once or when it has finished, after `wait_s` at the latest."""
        return self._call(job_call(job_id, wait_s=wait_s), parse_job)

    def list(
        self, *, state: State | None = None, processor: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        """Yield jobs, the newest first, at most `limit`; one page is held at a time."""
        filters = {"state": state, "processor": processor}
        cursor, left = None, limit
        while left is None or left > 0:
            jobs, cursor = self._call(jobs_call(filters, limit=left, cursor=cursor), parse_page)
            yield from jobs
            if cursor is None:
                return
            left = None if left is None else left - len(jobs)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not finished."""
        return self._call(job_call(job_id, "/cancel", method="POST"), parse_job)

    def retry(self, job_id: str) -> Job:
        """Queue a job again that failed or was cancelled."""
        return self._call(job_call(job_id, "/retry", method="POST"), parse_job)

    def delete(self, job_id: str) -> None:
        """Delete a job that is not running, with its files."""
        refuse_problem(self._send(job_call(job_id, method="DELETE")))

    def wait(self, job_id: str, timeout_s: float | None = None, on_update: Callable[[Job], None] | None = None) -> Job:
        """Return the job when it has finished, good or bad; None waits as long as it takes.

        `on_update` is called about once a second with the job as it stands.

        Raises:
            WaitTimeoutError: it has not finished after `timeout_s`.
        """
        longest_s = LONGEST_WAIT_S if on_update is None else UPDATE_S
        start = self._clock.monotonic()
        while True:
            asked = self._clock.monotonic()
            left = longest_s if timeout_s is None else timeout_s - (asked - start)
            job = self.get(job_id, wait_s=max(0.0, min(left, longest_s)))
            if job.is_finished:
                return job
            if on_update is not None:
                on_update(job)
            now = self._clock.monotonic()
            if timeout_s is not None and now - start >= timeout_s:
                raise WaitTimeoutError(job, timeout_s)
            if now - asked < PAUSE_S:  # something on the way dropped the wish to wait
                self._sleep(PAUSE_S)

    def file(self, file_id: str) -> File:
        """Return what is known of a file."""
        return self._call(file_call(file_id), parse_file)

    def download(
        self, file_id: str, target: Path, *, overwrite: bool = False, on_progress: Moved | None = None
    ) -> Path:
        """Download a file to the path `target`, or under its own name into the folder `target`.

        The bytes go to a file beside it, which takes the name once it is whole and its SHA-256 is right.

        Raises:
            FileExistsError: there is something at the path, and `overwrite` is not set.
            DamagedDownloadError: what arrived is not what the server stored.
        """
        file = self.file(file_id)
        path = place(file, target)
        with (
            open_part(path, overwrite=overwrite) as stream,
            self._stream(file_call(file_id, "/content")) as pieces,
        ):
            write_checked(pieces, stream, file, on_progress)
        return path

    def processors(self) -> tuple[ProcessorInfo, ...]:
        """Return all processors that the server has."""
        return self._call(processors_call(), parse_processors)

    def processor(self, name: str) -> ProcessorInfo:
        """Return one processor."""
        return self._call(processors_call(name), parse_processor)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, call: Call, parse: Callable[[Any], T]) -> T:
        return read_answer(self._send(call), parse)

    def _send(self, call: Call, readers: Sequence[Reader] = ()) -> httpx.Response:
        with self._reachable():
            return self._http.send(self._request(call, readers))

    @contextmanager
    def _stream(self, call: Call) -> Iterator[Iterator[bytes]]:
        with (
            self._reachable(),
            self._http.stream(call.method, call.path, timeout=_timeout(PATIENCE_S)) as response,
        ):
            if not response.is_success:
                response.read()
            refuse_problem(response)
            yield response.iter_bytes(PIECE_BYTES)

    def _request(self, call: Call, readers: Sequence[Reader]) -> httpx.Request:
        silence_s = PATIENCE_S + call.patience_s + (total_size(readers) or 0) / SLOWEST_SYNC_BYTES_S
        return self._http.build_request(
            call.method,
            call.path,
            params=call.query or None,
            headers=call.headers,
            json=call.body,
            data=call.form,
            # all that httpx needs of a file is `read`, and `fileno` where there is a length
            files=[("file", (reader.name, cast("BinaryIO", reader))) for reader in readers] or None,
            timeout=_timeout(silence_s),
        )

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ServerUnreachableError(
                f"no server answers at {self.url} ({error}); start one with `filemill serve`, "
                "or name another with --url or FILEMILL_URL"
            ) from error
        except httpx.TransportError as error:
            raise ServerUnreachableError(f"the connection to {self.url} broke: {_reason(error)}") from error


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise SettingsError(f"FILEMILL_URL: {url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(f"FILEMILL_URL: {url!r} must begin with http:// or https:// and a host")
    return parsed


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _timeout(silence_s: float) -> httpx.Timeout:
    return httpx.Timeout(silence_s, connect=CONNECT_S)


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
