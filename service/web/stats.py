"""/v1/stats and /metrics: how the service is doing, for people and for Prometheus."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from statistics import quantiles

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service.meters import CONTENT_TYPE_LATEST, WINDOW_S, Settled
from service.runtime import Runtime
from service.states import Move, State
from service.store.stats import Count
from service.web.problems import LOOK_ERRORS, problem_responses
from service.web.requests import Service

router = APIRouter(tags=["stats"])

_BUCKET_S = 10
_BUCKETS = int(WINDOW_S / _BUCKET_S)
_FAILURES_OF = timedelta(days=1)


class StateCounts(BaseModel):
    """How many jobs are in each state."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class ProcessorCounts(StateCounts):
    """The same of one processor."""

    name: str = Field(examples=["image.thumbnail"])


class Throughput(BaseModel):
    """How many jobs ended within ten seconds; `at` is the end of them."""

    at: datetime
    succeeded: int
    failed: int


class Percentiles(BaseModel):
    """Of the last minutes, in seconds; null where nothing ended."""

    p50: float | None
    p95: float | None


class FailureCount(BaseModel):
    """How many jobs failed with a code."""

    code: str = Field(examples=["timed_out"])
    count: int


class Occupancy(BaseModel):
    """How many jobs run in a lane, and how many could."""

    busy: int
    places: int


class StatsView(BaseModel):
    """The figures of the service."""

    jobs: StateCounts
    processors: list[ProcessorCounts] = Field(description="at most 200 by name; `(other)` counts the rest")
    oldest_queued_age_s: float | None = Field(description="of the jobs that are ready")
    window_s: float = Field(description="what `throughput`, `wait_s` and `run_s` look back on")
    throughput: list[Throughput]
    wait_s: Percentiles = Field(description="from ready to claimed")
    run_s: Percentiles = Field(description="from claimed to settled")
    failures: list[FailureCount] = Field(
        description="of the last day, the 20 most frequent first; `(other)` counts the rest"
    )
    consumers: dict[str, Occupancy] = Field(description="`loop` runs `async def`, `child` runs `def`")
    loop_lag_s: float = Field(description="how late the event loop was when it was last looked at")
    listeners: int = Field(description="open streams of events")


@router.get("/v1/stats", responses=problem_responses(*LOOK_ERRORS))
async def get_stats(service: Service) -> StatsView:
    """Look at counts, throughput and latency; the counts of a long table may be some seconds old."""
    counts = await service.stats.count()
    recent = service.meters.recent(service.clock.monotonic())
    failures = await service.stats.count_failures(service.clock.now() - _FAILURES_OF)
    return StatsView(
        jobs=StateCounts(**_by_state(counts)),
        processors=[ProcessorCounts(name=name, **_by_state(own)) for name, own in _by_processor(counts)],
        oldest_queued_age_s=await _oldest_queued_age_s(service),
        window_s=WINDOW_S,
        throughput=_throughput(service, recent),
        wait_s=_percentiles([one.wait_s for one in recent]),
        run_s=_percentiles([one.run_s for one in recent]),
        failures=[FailureCount(code=one.code, count=one.jobs) for one in failures],
        consumers={
            lane: Occupancy(busy=busy, places=places) for lane, (busy, places) in service.pool.occupancy().items()
        },
        loop_lag_s=service.meters.lag_s,
        listeners=service.feed.listeners,
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(*LOOK_ERRORS),
    },
)
async def get_metrics(service: Service) -> Response:
    """Look at the same as Prometheus series."""
    gauges = service.meters
    gauges.jobs.clear()
    for count in await service.stats.count():
        gauges.jobs.labels(count.processor, count.state.value).set(count.jobs)
    gauges.oldest_queued.set(await _oldest_queued_age_s(service) or 0)
    gauges.listeners.set(service.feed.listeners)
    for lane, (busy, places) in service.pool.occupancy().items():
        gauges.busy.labels(lane).set(busy)
        gauges.places.labels(lane).set(places)
    return Response(service.meters.exposition(), media_type=CONTENT_TYPE_LATEST)


async def _oldest_queued_age_s(service: Runtime) -> float | None:
    oldest = await service.stats.find_oldest_queued()
    return None if oldest is None else max(0.0, (service.clock.now() - oldest).total_seconds())


def _by_processor(counts: Sequence[Count]) -> Iterable[tuple[str, list[Count]]]:
    names = sorted({count.processor for count in counts})
    return ((name, [count for count in counts if count.processor == name]) for name in names)


def _by_state(counts: Iterable[Count]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for count in counts:
        found[count.state.value] += count.jobs
    return {state.value: found[state.value] for state in State}


def _throughput(service: Runtime, recent: Sequence[Settled]) -> list[Throughput]:
    """Return the buckets of the window, the oldest first."""
    now, now_s = service.clock.now(), service.clock.monotonic()
    found = Counter((int((now_s - one.at_s) // _BUCKET_S), one.outcome) for one in recent)
    return [
        Throughput(
            at=now - timedelta(seconds=_BUCKET_S * age),
            succeeded=found[age, Move.SUCCEED.value],
            failed=found[age, Move.FAIL.value],
        )
        for age in reversed(range(_BUCKETS))
    ]


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    if not seconds:
        return Percentiles(p50=None, p95=None)
    cuts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 19
    return Percentiles(p50=cuts[9], p95=cuts[18])
