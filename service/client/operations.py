"""What the client can do, written once; `Filemill` and `AsyncFilemill` are two ways to call it."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from service.client.answers import (
    File,
    Job,
    ProcessorInfo,
    Stats,
    WaitTimeoutError,
    parse_file,
    parse_files,
    parse_job,
    parse_page,
    parse_processor,
    parse_processors,
    parse_stats,
    read_answer,
    refuse_problem,
)
from service.client.calls import (
    Call,
    SubmitOptions,
    file_call,
    files_call,
    job_call,
    jobs_call,
    processors_call,
    stats_call,
    submit_call,
)
from service.client.downloads import Download, place
from service.client.events import Event
from service.client.uploads import Moved, Source, open_readers
from service.client.watching import Wanted, Watcher, WatchOptions
from service.client.wire import Wire
from service.clock import Clock
from service.states import State

T = TypeVar("T")

LONGEST_WAIT_S = 30.0  # of one request; `wait` repeats it
UPDATE_S = 1.0
PAUSE_S = 0.5
PIECE_BYTES = 256 * 1024


class Operations:
    """Every operation as a coroutine or an asynchronous iterator, over a wire that may block instead."""

    def __init__(self, wire: Wire, clock: Clock) -> None:
        self._wire = wire
        self._clock = clock

    # ---- submitting

    async def submit(
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
        made again without making a second job; a `Source` that can be wound back stands then where it stood before.
        What is appended to a file meanwhile is left out.

        Raises:
            OSError: a file cannot be read.
            FileChangedError: a file became shorter, or other bytes were written into it.
        """
        fields = {"processor": processor, "params": dict(params or {}), **options}
        call = submit_call(fields, with_files=bool(files), wait_s=wait_s, idempotency_key=idempotency_key)
        with ExitStack() as stack:
            readers = await self._wire.work(open_readers, files, stack)
            return read_answer(await self._wire.send(call, readers, on_progress), parse_job)

    async def submit_many(
        self,
        processor: str,
        files: Iterable[Path | Source],
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[Job]:
        """Make one job of each file, and yield each as soon as it is accepted.

        The first refusal ends it; the jobs before it go on. The `idempotency_key` gets the number of the file at
        its end, so that the same call with the same files makes no job twice.
        """
        for number, file in enumerate(files, 1):
            key = None if idempotency_key is None else f"{idempotency_key}-{number}"
            yield await self.submit(processor, [file], params, idempotency_key=key, **options)

    # ---- looking and waiting

    async def get(self, job_id: str, *, wait_s: float | None = None) -> Job:
        """Return a job, at once or when it has finished, after `wait_s` at the latest."""
        return await self._call(job_call(job_id, wait_s=wait_s), parse_job)

    async def wait(
        self, job_id: str, timeout_s: float | None = None, on_update: Callable[[Job], None] | None = None
    ) -> Job:
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
            job = await self.get(job_id, wait_s=max(0.0, min(left, longest_s)))
            if job.is_finished:
                return job
            if on_update is not None:
                on_update(job)
            now = self._clock.monotonic()
            if timeout_s is not None and now - start >= timeout_s:
                raise WaitTimeoutError(job, timeout_s)
            if now - asked < PAUSE_S:  # something on the way dropped the wish to wait
                await self._wire.sleep(PAUSE_S)

    async def watch(self, job_id: str | None = None, **options: Unpack[WatchOptions]) -> AsyncIterator[Event]:
        """Yield what happens: to one job from its beginning to its end, or to all from now on, for ever.

        Each event comes once and in order, also when the connection breaks or the server is started again: the
        stream is resumed after the last event that was seen.

        Raises:
            ServerUnreachableError: there is no server, or it did not come back in time.
            BrokenStreamError: what answers does not send events.
        """
        async with aclosing(Watcher(self._wire, self._clock, Wanted(job_id, **options)).events()) as events:
            async for event in events:
                yield event

    def list(
        self,
        *,
        state: State | None = None,
        processor: str | None = None,
        limit: int | None = None,
        large: Collection[str] | None = None,
    ) -> AsyncIterator[Job]:
        """Yield jobs, the newest first, at most `limit`; one page is held at a time.

        What is large is left out, and each job names it in `omitted`. With `large`, of the fields `params`, `metadata`,
        `result`, `error`, `inputs` and `outputs` only those named are given, the first three of them whole.
        """
        filters = {"state": state, "processor": processor}
        return self._pages(partial(jobs_call, filters, large=large), parse_page, limit)

    # ---- steering

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not finished."""
        return await self._call(job_call(job_id, "/cancel", method="POST"), parse_job)

    async def retry(self, job_id: str) -> Job:
        """Queue a job again that failed or was cancelled."""
        return await self._call(job_call(job_id, "/retry", method="POST"), parse_job)

    async def delete(self, job_id: str) -> None:
        """Delete a job that is not running, with its files."""
        refuse_problem(await self._wire.send(job_call(job_id, method="DELETE")))

    # ---- files

    async def file(self, file_id: str) -> File:
        """Return what is known of a file."""
        return await self._call(file_call(file_id), parse_file)

    def files(
        self,
        *,
        unused: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[File]:
        """Yield stored files, the newest first, at most `limit`; one page is held at a time.

        `unused` ones were stored for themselves, and no job has them: they go after FILEMILL_FILE_RETENTION_S.
        """
        filters = {"unused": unused, "created_after": created_after, "created_before": created_before}
        return self._pages(partial(files_call, filters), parse_files, limit)

    async def delete_file(self, file_id: str) -> None:
        """Delete a file that no unfinished job needs."""
        refuse_problem(await self._wire.send(file_call(file_id, method="DELETE")))

    async def download(
        self, file: File | str, target: Path, *, overwrite: bool = False, on_progress: Moved | None = None
    ) -> Path:
        """Download a file, or that of an id, to the path `target`, or under its own name into the folder `target`.

        The bytes go to a file beside it, which takes the name once it is whole and its SHA-256 is right.

        Raises:
            FileExistsError: there is something at the path, and `overwrite` is not set.
            DamagedDownloadError: what arrived is not what the server stored.
        """
        known = file if isinstance(file, File) else await self.file(file)
        path = place(known, target)
        download = await self._wire.work(Download, known, path, overwrite=overwrite)
        try:
            async with self._wire.open(file_call(known.id, "/content"), PIECE_BYTES) as opened:
                async for piece in opened.pieces:
                    await self._wire.work(download.write, piece)
                    if on_progress is not None:
                        on_progress(download.done, known.size_bytes)
            await self._wire.work(download.finish)
        finally:
            download.close()
        return path

    # ---- the server

    async def processors(self) -> tuple[ProcessorInfo, ...]:
        """Return all processors that the server has."""
        return await self._call(processors_call(), parse_processors)

    async def processor(self, name: str) -> ProcessorInfo:
        """Return one processor."""
        return await self._call(processors_call(name), parse_processor)

    async def stats(self) -> Stats:
        """Return the figures of the service: counts, throughput, wait and run time of the last minutes."""
        return await self._call(stats_call(), parse_stats)

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def _pages(
        self,
        page_call: Callable[..., Call],
        parse: Callable[[Any], tuple[tuple[T, ...], str | None]],
        limit: int | None,
    ) -> AsyncIterator[T]:
        """Yield what is on the pages, at most `limit`."""
        cursor, left = None, limit
        while left is None or left > 0:
            page, cursor = await self._call(page_call(limit=left, cursor=cursor), parse)
            for one in page:
                yield one
            if cursor is None:
                return
            left = None if left is None else left - len(page)

    async def _call(self, call: Call, parse: Callable[[Any], T]) -> T:
        return read_answer(await self._wire.send(call), parse)
