"""Filemill in one process, without HTTP: `open_runtime` on uvloop, as production has it. Prints figures as JSON.

python -m tests.benchmarks.inside queue|latency|overhead|open|claim --folder F [--count N] [--seconds S]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvloop

from service.garbage import spare_what_stays
from service.intake.incoming import Incoming
from service.runtime import Runtime, open_runtime
from service.settings import Settings
from service.states import State
from service.store.listing import JobFilter
from service.store.records import Claim
from tests.benchmarks.backlog import ABSENT, NOOP, fill
from tests.benchmarks.figures import ms
from tests.benchmarks.filemill import WORKLOADS
from tests.benchmarks.peers.driver import SUBMITTERS
from tests.benchmarks.peers.tally import Tally, rate
from tests.benchmarks.processes import forget_peak, peak_bytes, resident_bytes

_LIMIT_S = 240.0
_POLL_S, _LOOKING = 0.002, 20
_PAUSE_S = 0.02
_MIB = 1024**2


def settings(folder: Path) -> Settings:
    """Return the default settings, with the processors of the benchmark."""
    return Settings(data_dir=folder, processors=str(WORKLOADS))


# ---- works


async def queue(folder: Path, tally: Tally, count: int) -> dict[str, float]:
    """Return jobs per second: submitted, drained after a restart, and submitted while draining."""
    drained = await _drained(folder / "backlog", tally, count)
    async with open_runtime(settings(folder / "data")) as runtime:
        later = (runtime.clock.now() + timedelta(hours=1)).isoformat()
        began = time.perf_counter()
        await _submit_all(runtime, iter(range(count)), run_after=later)
        submitted = count / (time.perf_counter() - began)
    async with open_runtime(settings(folder / "both")) as runtime:
        both = await _while_draining(runtime, tally, count, count)
    return {"submitted": submitted, "drained": drained, "both": both}


async def latency(folder: Path, tally: Tally, count: int, seconds: float) -> dict[str, float]:
    """Return milliseconds from submission to start: when idle, and at half of the load that it can carry."""
    async with open_runtime(settings(folder / "data")) as runtime:
        await _submit(runtime, 0)
        await _marked(tally, 0, 1)
        first, calls = 1, []
        for number in range(first, first + count):
            calls.append(await _clocked(runtime, number))
            await _marked(tally, number, 1)
            await asyncio.sleep(_PAUSE_S)
        idle = tally.marks(first, count)
        first += count
        per_s = await _while_draining(runtime, tally, first, max(count, 100)) / 2
        first += max(count, 100)
        half = await _paced(runtime, tally, first, per_s, seconds)
    return {
        "idle": statistics.median(mark - called for mark, (called, _) in zip(idle, calls, strict=True)) / 1e6,
        "after": statistics.median(mark - accepted for mark, (_, accepted) in zip(idle, calls, strict=True)) / 1e6,
        "half": half,
    }


async def overhead(folder: Path, tally: Tally, count: int) -> dict[str, float]:
    """Return milliseconds from submission to success, with a warm pool: `async def`, `def`, and the difference."""
    del tally
    medians = {}
    async with open_runtime(settings(folder / "data")) as runtime:
        for name in (NOOP, "bench.noop_def"):
            await asyncio.gather(*(_through(runtime, name) for _ in range(2 * runtime.settings.child_processes)))
            medians[name] = statistics.median([await _through(runtime, name) for _ in range(count)])
    asynchronous, plain = ms(medians[NOOP]), ms(medians["bench.noop_def"])
    return {"async": asynchronous, "def": plain, "difference": plain - asynchronous}


async def opened(folder: Path, tally: Tally, count: int) -> dict[str, float]:
    """Open the service on the folder's queued jobs: seconds until open, MiB that it grows by, first jobs per s."""
    first = min(count, 1000)
    forget_peak(os.getpid())
    before, began = resident_bytes(os.getpid()), time.perf_counter()
    async with open_runtime(settings(folder / "data")):
        seconds = time.perf_counter() - began
        await asyncio.to_thread(tally.wait, 0, first, _LIMIT_S)
        grown = peak_bytes(os.getpid()) - before
    return {"open": seconds, "grown": grown / _MIB, "first": rate(tally.marks(0, first))}


async def claim(folder: Path, tally: Tally, count: int) -> dict[str, float]:
    """Return milliseconds of a claim and of a page, in the store, with the folder's queued jobs."""
    del tally, count
    async with open_runtime(settings(folder / "data")) as runtime:
        claims, pages, middles = [], [], []
        middle = (await runtime.jobs.list_page(JobFilter(limit=500))).records[-1].job.id
        for ready in await runtime.jobs.list_ready([ABSENT], 200):
            began = time.perf_counter()
            assert await runtime.jobs.claim(Claim(ready.id, "benchmark", runtime.clock.now()))
            claims.append(time.perf_counter() - began)
        for _ in range(len(claims)):
            pages.append(await _page_s(runtime, JobFilter(limit=50)))
            middles.append(await _page_s(runtime, JobFilter(limit=50, state=State.QUEUED, before_id=middle)))
    return {name: ms(statistics.median(v)) for name, v in (("claim", claims), ("page", pages), ("state", middles))}


# ---- parts


async def _drained(folder: Path, tally: Tally, count: int) -> float:
    """Start on a backlog: jobs per second, until the last one is settled."""
    await asyncio.to_thread(fill, folder, count)
    async with open_runtime(settings(folder)) as runtime:
        await _marked(tally, 0, count)
        await _settled(runtime)
        return rate(tally.marks(0, count), time.monotonic_ns())


async def _while_draining(runtime: Runtime, tally: Tally, first: int, count: int) -> float:
    """Submit and run at the same time: jobs per second, until the last one is settled."""
    began = time.perf_counter()
    await _submit_all(runtime, iter(range(first, first + count)))
    await _marked(tally, first, count)
    await _settled(runtime)
    return count / (time.perf_counter() - began)


async def _paced(runtime: Runtime, tally: Tally, first: int, per_s: float, seconds: float) -> float:
    """Submit at a steady pace; return the median of the milliseconds from call to start."""
    count = max(int(per_s * seconds), 1)
    began, tasks = time.perf_counter(), []
    for number in range(count):
        await asyncio.sleep(max(began + number / per_s - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(_clocked(runtime, first + number)))
    calls = await asyncio.gather(*tasks)
    await _marked(tally, first, count)
    marks = tally.marks(first, count)
    return statistics.median(mark - called for mark, (called, _) in zip(marks, calls, strict=True)) / 1e6


async def _submit_all(runtime: Runtime, numbers: Iterator[int], **fields: Any) -> None:
    async def submit_each() -> None:
        for number in numbers:
            await _submit(runtime, number, **fields)

    await asyncio.gather(*(submit_each() for _ in range(SUBMITTERS)))


async def _submit(runtime: Runtime, number: int, processor: str = NOOP, **fields: Any) -> str:
    body = json.dumps({"processor": processor, "params": {"number": number}, **fields}).encode()
    accepted = await runtime.intake.submit(Incoming("application/json", len(body), {}, _once(body)))
    return accepted.record.job.id


async def _clocked(runtime: Runtime, number: int) -> tuple[int, int]:
    called = time.monotonic_ns()
    await _submit(runtime, number)
    return called, time.monotonic_ns()


async def _through(runtime: Runtime, processor: str) -> float:
    began = time.perf_counter()
    await runtime.jobs.wait(await _submit(runtime, -1, processor), _LIMIT_S)
    return time.perf_counter() - began


async def _page_s(runtime: Runtime, wanted: JobFilter) -> float:
    began = time.perf_counter()
    await runtime.jobs.list_page(wanted)
    return time.perf_counter() - began


async def _marked(tally: Tally, first: int, count: int) -> None:
    """Return when all of these have started.

    It looks between other work, for the jobs run in this very process; looking may take a twentieth of the time.
    """
    async with asyncio.timeout(_LIMIT_S):
        while True:
            began = time.perf_counter()
            if not tally.missing(first, count):
                return
            await asyncio.sleep(max(_POLL_S, _LOOKING * (time.perf_counter() - began)))


async def _settled(runtime: Runtime) -> None:
    async with asyncio.timeout(_LIMIT_S):
        for state in (State.QUEUED, State.RUNNING):
            while (await runtime.jobs.list_page(JobFilter(state=state, limit=1))).records:
                await asyncio.sleep(_POLL_S)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def main() -> None:
    """Do one piece of work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["queue", "latency", "overhead", "open", "claim"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1)
    wanted = parser.parse_args()
    tally = Tally(Path(os.environ["BENCH_TALLY"]), 4_000_000)
    works = {"queue": queue, "overhead": overhead, "open": opened, "claim": claim}
    if wanted.work == "latency":
        work = latency(wanted.folder, tally, wanted.count, wanted.seconds)
    else:
        work = works[wanted.work](wanted.folder, tally, wanted.count)
    spare_what_stays()
    figures = uvloop.run(work)
    sys.stdout.write("\n" + json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
