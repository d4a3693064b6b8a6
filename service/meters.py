"""What the service counts of itself: the figures of /v1/stats and the series of /metrics.

Names follow https://prometheus.io/docs/practices/naming/. Each server has a registry of its own, so that several can
live in one process, as they do in tests.
"""

from collections import deque
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Meters", "Settled"]

WINDOW_S = 300.0
_MOST_KEPT = 20_000
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt that ended: when, on the monotonic clock; how long the job waited for it, and how long it ran."""

    at_s: float
    processor: str
    outcome: str
    wait_s: float
    run_s: float


class Meters:
    """The counters of one server. Labels are names of processors and of moves: few, and known beforehand.

    The public gauges are for what is only known when it is asked for.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._recent: deque[Settled] = deque(maxlen=_MOST_KEPT)
        self._submitted = self._counter("jobs_submitted", "Jobs accepted", "processor")
        self._attempts = self._counter(
            "job_attempts", "Attempts that ended, by what they came to", "processor", "outcome"
        )
        self._upload_bytes = self._counter("upload_bytes", "Bytes of accepted files")
        self._waits = self._histogram("job_wait_seconds", "From ready to claimed", _SECONDS, "processor")
        self._runs = self._histogram("job_run_seconds", "From claimed to settled", _SECONDS, "processor")
        self._batches = self._histogram("commit_writes", "Writes in one commit of the database", _BATCHES)
        self._lag = self._histogram("loop_lag_seconds", "How late the event loop was", _SECONDS)
        self._series: dict[tuple[str, str], tuple[Counter, Histogram, Histogram]] = {}
        self.lag_s = 0.0
        self.jobs = self._gauge("jobs", "Jobs by processor and state", "processor", "state")
        self.oldest_queued = self._gauge("oldest_queued_age_seconds", "Age of the job that has been ready for longest")
        self.listeners = self._gauge("event_listeners", "Open streams of events")
        self.busy = self._gauge("jobs_running_here", "Jobs that run in a lane", "lane")
        self.places = self._gauge("job_places", "Jobs that could run in a lane", "lane")

    def submitted(self, processor: str, upload_bytes: int) -> None:
        """Count a job that was accepted."""
        self._submitted.labels(processor).inc()
        self._upload_bytes.inc(upload_bytes)

    def stored(self, upload_bytes: int) -> None:
        """Count a file that was accepted for itself."""
        self._upload_bytes.inc(upload_bytes)

    def settled(self, settled: Settled) -> None:
        """Count an attempt that ended."""
        self._recent.append(settled)
        ended, waits, runs = self._series_of(settled.processor, settled.outcome)
        ended.inc()
        waits.observe(settled.wait_s)
        runs.observe(settled.run_s)

    def committed(self, writes: int) -> None:
        """Count a commit of the database."""
        self._batches.observe(writes)

    def lagged(self, seconds: float) -> None:
        """Record how late the event loop was."""
        self.lag_s = seconds
        self._lag.observe(seconds)

    def recent(self, now_s: float) -> list[Settled]:
        """Return the attempts that ended in the last `WINDOW_S` seconds: at most the last 20,000."""
        while self._recent and self._recent[0].at_s < now_s - WINDOW_S:
            self._recent.popleft()
        return list(self._recent)

    def _series_of(self, processor: str, outcome: str) -> tuple[Counter, Histogram, Histogram]:
        """Look a child of each metric up once: `labels` takes a lock and checks its arguments anew each time."""
        found = self._series.get((processor, outcome))
        if found is None:
            found = self._series[processor, outcome] = (
                self._attempts.labels(processor, outcome),
                self._waits.labels(processor),
                self._runs.labels(processor),
            )
        return found

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(name, description, labels, namespace="filemill", registry=self.registry)

    def exposition(self) -> bytes:
        """Return all series as Prometheus text."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, namespace="filemill", registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, description, labels, namespace="filemill", buckets=buckets, registry=self.registry)
