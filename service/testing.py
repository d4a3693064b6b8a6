"""For the tests of your processors: run one on files, or a whole service in the test's own process.

With a processor in `words.py`, its test is `test_words.py`:

    from service.testing import open_app, run_processor
    from words import count


    def test_it_counts_words():
        run = run_processor(count, {"a.txt": "one two"}, {"unit": "words"})
        assert run.result == {"a.txt": 2}


    async def test_a_service_takes_it():  # pytest-asyncio, in its mode `auto`
        async with open_app("./words.py") as app:
            job = await app.submit("text.count", {"a.txt": "one two"})
            await app.drain()
            assert (await app.get(job["links"]["self"])).json()["result"] == {"a.txt": 2}
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from service.app import create_app
from service.clock import SystemClock, later
from service.processors.base import LogNote, Note, Processor, ProgressNote
from service.processors.calling import Overrides
from service.runtime import Runtime, open_runtime
from service.settings import Settings
from service.states import State
from service.store.listing import JobFilter
from service.store.models import Job
from service.worker.runner import Returned
from service.worker.trial import Trial, distinct_names, prepare

__all__ = ["AppClient", "Run", "arun_processor", "open_app", "run_processor"]

Files = Mapping[str, bytes | str] | Sequence[Path | str]
_LOOK_S = 0.05
_PAGE = 1000


# ---- one processor


@dataclass(frozen=True, slots=True)
class Run:
    """What a processor came to: its result as JSON brings it back, its outputs by name, and what it told."""

    result: Any
    outputs: dict[str, bytes]
    progress: list[ProgressNote]
    logs: list[LogNote]


def run_processor(
    processor: Processor,
    files: Files = (),
    params: Mapping[str, Any] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    attempt: int = 1,
    overrides: Overrides | None = None,
) -> Run:
    """Run a processor in this process, after the checks that a submission meets.

    Args:
        processor: what `@processor` made.
        files: contents by name, or paths.
        params: as a client would send them.
        metadata: the job's.
        attempt: the number of the attempt, from 1.
        overrides: other factories for those that `Depends` names.

    Raises:
        InvalidRequestError: the processor does not take these params or these files.
        Fail: the result is not JSON, or an output was not written; else whatever the processor raises.
    """
    with _prepared(processor, files, params, metadata, attempt, overrides) as (trial, notes):
        if _loop_runs() and (processor.is_async or any(one.needs_loop for one in processor.needs.values())):
            raise RuntimeError("an event loop runs here: await arun_processor(...)")
        return _run_of(trial.run(), notes)


async def arun_processor(
    processor: Processor,
    files: Files = (),
    params: Mapping[str, Any] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    attempt: int = 1,
    overrides: Overrides | None = None,
) -> Run:
    """Run a processor on the running loop; otherwise as `run_processor`."""
    with _prepared(processor, files, params, metadata, attempt, overrides) as (trial, notes):
        return _run_of(await trial.arun(), notes)


@contextlib.contextmanager
def _prepared(
    processor: Processor,
    files: Files,
    params: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    attempt: int,
    overrides: Overrides | None,
) -> Iterator[tuple[Trial, list[Note]]]:
    with tempfile.TemporaryDirectory(prefix="filemill-") as name:
        inputs, work, notes = Path(name, "inputs"), Path(name, "work"), list[Note]()
        inputs.mkdir()
        sources = list(_sources(files, inputs))
        yield (
            prepare(
                processor, sources, params or {}, work, notes.append,
                metadata=metadata, attempt=attempt, overrides=overrides,
            ),
            notes,
        )  # fmt: skip


def _sources(files: Files, folder: Path) -> Iterator[tuple[str, Path]]:
    if not isinstance(files, Mapping):
        yield from ((Path(one).name, Path(one)) for one in files)
        return
    for number, (name, content) in enumerate(files.items()):
        path = folder / str(number)
        path.write_bytes(_bytes(content))
        yield name, path


def _run_of(returned: Returned, notes: list[Note]) -> Run:
    return Run(
        result=returned.result,
        outputs={name: output.path.read_bytes() for name, output in distinct_names(returned.outputs)},
        progress=[note for note in notes if isinstance(note, ProgressNote)],
        logs=[note for note in notes if isinstance(note, LogNote)],
    )


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _loop_runs() -> bool:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


# ---- a whole service


class AppClient(httpx.AsyncClient):
    """An HTTP client of a service in this process. `runtime` is its inside."""

    def __init__(self, transport: httpx.ASGITransport, runtime: Runtime, clock: "_MovableClock") -> None:
        super().__init__(transport=transport, base_url="http://filemill")
        self.runtime = runtime
        self._clock = clock

    async def submit(
        self, processor: str, files: Files = (), params: Mapping[str, Any] | None = None, **fields: str | float
    ) -> dict[str, Any]:
        """Submit a job, and return it as the API shows it.

        Raises:
            AssertionError: it was refused; the message is the problem.
        """
        values = {"processor": processor, "params": json.dumps(dict(params or {})), **fields}
        form: list[tuple[str, Any]] = [(name, (None, str(value).encode())) for name, value in values.items()]
        response = await self.post("/v1/jobs", files=form + [("file", file) for file in _uploads(files)])
        if response.status_code != httpx.codes.ACCEPTED:
            raise AssertionError(response.text)
        job: dict[str, Any] = response.json()
        return job

    async def drain(self, timeout_s: float = 30) -> None:
        """Run all jobs to their end, also those that wait for a later moment: the service's clock is moved there.

        Raises:
            TimeoutError: some have not ended in time; the message names them.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while jobs := await self._unfinished():
                    await self._wait_for_one(jobs)
        except TimeoutError:
            left = ", ".join(f"{job.id} ({job.processor}, {job.state})" for job in await self._unfinished())
            raise TimeoutError(f"not ended after {timeout_s:g} s: {left}") from None

    async def _unfinished(self) -> list[Job]:
        """Return jobs that have not ended, the first to run first."""
        found: dict[str, Job] = {}
        for state in (State.QUEUED, State.RUNNING, State.QUEUED):  # or one that moves meanwhile is overlooked
            page = await self.runtime.jobs.list_page(JobFilter(state=state, limit=_PAGE))
            found |= {one.job.id: one.job for one in page.records}
        return sorted(found.values(), key=lambda job: (job.state != State.RUNNING, job.run_after))

    async def _wait_for_one(self, jobs: list[Job]) -> None:
        if all(job.state == State.QUEUED for job in jobs):
            self._clock.move_to(jobs[0].run_after)
        await self.runtime.jobs.wait(jobs[0].id, _LOOK_S)


@contextlib.asynccontextmanager
async def open_app(
    processors: str | Path | Sequence[str | Path] = (), *, data_dir: Path | None = None, **settings: Any
) -> AsyncIterator[AppClient]:
    """Open a service on a folder of its own, and give a client for it; `def` processors run in a real child.

    Args:
        processors: modules (`pkg.module`) and files (`./file.py`) to load.
        data_dir: where to keep its data; by default a folder that is removed afterwards.
        settings: any other settings, such as `max_files=2`. The environment is not read.

    Raises:
        StartError: a processor cannot be loaded.
    """
    places = [processors] if isinstance(processors, (str, Path)) else processors
    clock = _MovableClock()
    with contextlib.ExitStack() as stack:
        folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filemill-")))
        chosen = {"data_dir": folder, "processors": ",".join(map(str, places)), **_SMALL, **settings}
        wanted = Settings.model_validate(chosen)
        app = create_app(wanted)
        async with open_runtime(wanted, clock) as runtime:
            app.state.runtime = runtime
            async with AppClient(httpx.ASGITransport(app), runtime, clock) as client:
                yield client


_SMALL = {"consumers": 4, "child_processes": 1, "shutdown_grace_s": 0, "min_free_bytes": 0}


class _MovableClock(SystemClock):
    """The machine's clock, set forward."""

    _ahead_s = 0.0

    def now(self) -> datetime:
        return later(super().now(), self._ahead_s)

    def move_to(self, instant: datetime) -> None:
        """Set it to an instant, unless it is past."""
        self._ahead_s += max((instant - self.now()).total_seconds(), 0)


def _uploads(files: Files) -> Iterator[tuple[str, bytes]]:
    if isinstance(files, Mapping):
        yield from ((name, _bytes(content)) for name, content in files.items())
    else:
        yield from ((Path(one).name, Path(one).read_bytes()) for one in files)
