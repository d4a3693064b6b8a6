"""Figures of the whole jobs table, each by a statement that reads an index alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select

from service.clock import Clock
from service.states import State
from service.store.database import Database
from service.store.models import Job
from service.store.tables import in_state, jobs

_MOST_FAILURES = 10_000
MOST_CODES, MOST_PROCESSORS = 20, 200  # codes are chosen by processors, and may be as many as the jobs
_MOST_CODE_CHARS = 100
OTHERS = "(other)"  # no processor can be called so
_REST_FACTOR = 20  # a count that took 50 ms is good for a second


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs of a processor are in a state."""

    processor: str
    state: State
    jobs: int


@dataclass(frozen=True, slots=True)
class Failures:
    """How many jobs failed with a code."""

    code: str
    jobs: int


class Stats:
    """Counts jobs. A count of a million rows takes a while, so it is given again for some time after it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counts: Sequence[Count] = ()
        self._good_until_s = 0.0

    async def count(self) -> Sequence[Count]:
        """Return the number of jobs by processor and state; at most `_REST_FACTOR` times as old as it took to count.

        Of very many processors, those with the fewest jobs are counted together, as `OTHERS`.
        """
        begun_s = self._clock.monotonic()
        if begun_s >= self._good_until_s:
            self._counts = await self._count()
            ended_s = self._clock.monotonic()
            self._good_until_s = ended_s + _REST_FACTOR * (ended_s - begun_s)
        return self._counts

    async def find_oldest_queued(self) -> datetime | None:
        """Return when the job was created that has been ready for longest, or None."""
        async with self._database.session() as session:
            return (
                await session.exec(
                    select(Job.created_at)
                    .where(in_state(State.QUEUED), ~jobs.c.scheduled)
                    .order_by(col(Job.id))
                    .limit(1)
                )
            ).first()

    async def count_failures(self, since: datetime) -> list[Failures]:
        """Return the failures since this moment by code, the most frequent first; of more than 10,000, the last.

        The `MOST_CODES` most frequent codes are told apart, all others are counted together at the end, as `OTHERS`.
        """
        code = func.substr(func.json_extract(col(Job.error), "$.code"), 1, _MOST_CODE_CHARS)
        last = (
            select(code.label("code"))
            .where(in_state(State.FAILED), col(Job.finished_at) >= since)
            .order_by(col(Job.finished_at).desc())
            .limit(_MOST_FAILURES)
            .subquery()
        )
        many = func.count().label("many")
        every = func.sum(func.count()).over()
        frequent = select(last.c.code, many, every).group_by(last.c.code).order_by(many.desc(), last.c.code)
        async with self._database.session() as session:
            rows = (await session.exec(frequent.limit(MOST_CODES))).all()
        told = [Failures(code or "unknown", jobs) for code, jobs, _ in rows]
        others = rows[0][2] - sum(one.jobs for one in told) if rows else 0
        return [*told, Failures(OTHERS, others)] if others else told

    async def _count(self) -> list[Count]:
        async with self._database.session() as session:
            rows = await session.exec(
                select(Job.processor, Job.state, func.count()).group_by(col(Job.processor), col(Job.state))
            )
            return _few([Count(processor, State(state), jobs) for processor, state, jobs in rows])


def _few(counts: list[Count]) -> list[Count]:
    """Return the counts of a bounded number of processors."""
    totals: Counter[str] = Counter()
    for one in counts:
        totals[one.processor] += one.jobs
    if len(totals) <= MOST_PROCESSORS:
        return counts
    told = {name for name, _ in totals.most_common(MOST_PROCESSORS)}
    others = Counter(dict.fromkeys(State, 0))
    for one in counts:
        others[one.state] += 0 if one.processor in told else one.jobs
    left = [Count(OTHERS, state, jobs) for state, jobs in others.items() if jobs]
    return [one for one in counts if one.processor in told] + left
