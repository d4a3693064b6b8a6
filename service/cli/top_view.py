"""What `filemill top` shows: a picture of the service, drawn from what is known of it."""

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.cli.board import Standing, bar
from service.cli.render import STATE_STYLES, cut, duration, plain, table, whole
from service.states import State

if TYPE_CHECKING:
    from service.client import Event, Job, Stats

MOST_RUNNING = 100  # that are asked for; what starts later comes by itself
KEPT = 50  # jobs that have ended
BUSIEST = 5
_BLOCKS = "▁▂▃▄▅▆▇█"
_PROCESSOR = 16
_ID = 36
_TIME = 6


class Picture:
    """What is known: the figures, the jobs that run, and those that have ended lately."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stats: Stats | None = None
        self.running: dict[str, tuple[str, Standing]] = {}
        self.ended: deque[tuple[str, Standing]] = deque(maxlen=KEPT)
        self.is_lost = False

    def take_jobs(self, jobs: "Sequence[Job]", known_before: Sequence[str]) -> None:
        """Learn which jobs run. What ended since they were asked for has ended; what was there before is gone."""
        over = {standing.job_id for _, standing in self.ended}
        found = {job.id: job for job in jobs}
        if len(jobs) < MOST_RUNNING:
            for job_id in known_before:
                if job_id not in found:
                    self.running.pop(job_id, None)
        for job in jobs:
            if job.id not in over:
                self.running.setdefault(job.id, (job.processor, _standing(job)))

    def take_event(self, event: "Event") -> None:
        """Learn what happened."""
        if event.kind == "log":
            return
        _, standing = self.running.get(event.job_id) or (event.processor, Standing(event.job_id, event.job_id))
        standing.take(event)
        if standing.state is State.RUNNING:
            self.running[event.job_id] = (event.processor, standing)
            return
        self.running.pop(event.job_id, None)
        if standing.is_finished:
            self.ended.appendleft((event.processor, standing))

    def frame(self, now: datetime, width: int, height: int, hint: str = "") -> Group:
        """Return the picture within so many columns and lines."""
        head: list[RenderableType] = [self._title(now, width, hint), *self._figures(width)]
        taken = sum(one.row_count + 1 if isinstance(one, Table) else 1 for one in head)
        rows = max(2, height - taken - 6)  # two headers, two empty lines, what there is more, and the cursor
        below = min(len(self.ended), max(rows // 3, rows - max(1, len(self.running))))
        running = _running(list(self.running.values()), now, max(1, rows - below), width)
        ended = _ended(list(self.ended)[:below], now, width)
        tail: list[RenderableType] = [Text(), ended] if below else []
        return Group(*head, Text(), running, *tail)

    def _title(self, now: datetime, width: int, hint: str) -> Text:
        left = Text.assemble(("Filemill", "bold"), f"  {cut(self.url, max(10, width - 34))}")
        lost = "gone, looking for it" if self.is_lost else ""
        right = Text(f"{lost or hint}  {now.astimezone():%H:%M:%S}".strip(), "yellow" if self.is_lost else "dim")
        return Text.assemble(left, " " * max(2, width - left.cell_len - right.cell_len), right)

    def _figures(self, width: int) -> Iterator[Text | Table]:
        if self.stats is None:
            return
        stats = self.stats
        counts = Text("  ", no_wrap=True, overflow="ellipsis").join(
            Text.assemble((f"{count:,}", f"bold {STATE_STYLES[State(name)]}" if count else "dim"), f" {name}")
            for name, count in stats.jobs.items()
        )
        oldest = stats.oldest_queued_age_s
        yield Text()
        yield counts
        yield Text(f"oldest waits {whole(oldest)}" if oldest is not None else "nothing is waiting", "dim")
        yield _throughput(stats, width)
        yield Text.assemble(
            _span("waited", stats.wait_s), "   ", _span("ran", stats.run_s), "   ", _occupancy(stats.occupancy)
        )
        busiest = sorted(stats.processors.items(), key=lambda one: -(one[1]["running"] * 10**9 + one[1]["queued"]))
        busy = [one for one in busiest if one[1]["running"] or one[1]["queued"]][:BUSIEST]
        if len(busy) > 1:
            yield Text()
            yield _processors(busy)


def _standing(job: "Job") -> Standing:
    return Standing(job.id, job.id, job.state, job.progress_fraction, job.progress_message, job.attempt, job.started_at)


def _throughput(stats: "Stats", width: int) -> Text:
    recent = stats.throughput[-6:]
    rate = sum(recent) / max(1, len(recent))
    words = f"{rate:,.1f} jobs a second" if rate >= 1 else f"{rate * 60:.0f} jobs a minute"
    room = min(len(stats.throughput), max(10, width - 30))
    return Text.assemble((spark(stats.throughput[-room:]), "green"), f"  {words}")


def spark(values: Sequence[float]) -> str:
    """Return a line of blocks, as high as the values are beside the highest."""
    most = max(values, default=0.0)
    return "".join(_BLOCKS[round(one / most * (len(_BLOCKS) - 1)) if most else 0] for one in values)


def _span(words: str, percentiles: Any) -> Text:
    if percentiles.p50 is None:
        return Text(f"{words} -", "dim")
    return Text.assemble((f"{words} ", "dim"), duration(percentiles.p50), (" p95 ", "dim"), duration(percentiles.p95))


def _occupancy(lanes: dict[str, tuple[int, int]]) -> Text:
    parts = [Text.assemble((f"{plain(lane)} ", "dim"), f"{busy}/{places}") for lane, (busy, places) in lanes.items()]
    return Text("  ").join(parts)


def _processors(busy: Sequence[tuple[str, dict[str, int]]]) -> Table:
    made = table("Processor", "Queued", "Running", "Succeeded", "Failed")
    for column in made.columns[1:]:
        column.justify = "right"
    for name, counts in busy:
        made.add_row(cut(name, 30), *(f"{counts[state]:,}" for state in ("queued", "running", "succeeded", "failed")))
    return made


def _running(jobs: Sequence[tuple[str, Standing]], now: datetime, rows: int, width: int) -> Table | Text:
    if not jobs:
        return Text("No job is running.", "dim")
    made = table("Running", "Processor", "Time", "Progress")
    _fix(made, width)
    for processor, one in jobs[:rows]:
        spent = "" if one.started_at is None else whole(max(0.0, (now - one.started_at).total_seconds()))
        made.add_row(cut(one.job_id, _ID), cut(processor, _PROCESSOR), spent, _progress(one))
    if len(jobs) > rows:
        made.add_row(Text(f"and {len(jobs) - rows} more", "dim"))
    return made


def _progress(one: Standing) -> Text:
    if not one.fraction:
        return Text(cut(one.message, 100))
    return Text.assemble(bar(one.fraction, 4), f" {one.fraction:.0%} ", cut(one.message, 100))


def _ended(jobs: Sequence[tuple[str, Standing]], now: datetime, width: int) -> Table:
    made = table("Ended", "Processor", "Took", "State")
    _fix(made, width)
    for processor, one in jobs:
        took = "" if one.started_at is None else duration(((one.ended_at or now) - one.started_at).total_seconds())
        state = Text.assemble((one.state.value, STATE_STYLES[one.state]), f"  {cut(one.message, 200)}".rstrip())
        made.add_row(cut(one.job_id, _ID), cut(processor, _PROCESSOR), took, state)
    return made


def _fix(made: Table, width: int) -> None:
    """Give the columns of both tables the same places; what the job says gets the rest."""
    widths = (_ID, _PROCESSOR, _TIME, max(10, width - _ID - _PROCESSOR - _TIME - 6))
    for column, own in zip(made.columns, widths, strict=True):
        column.width, column.no_wrap, column.overflow = own, True, "ellipsis"
