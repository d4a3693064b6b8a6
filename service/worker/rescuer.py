"""Jobs that nobody runs: those of dead workers, and those that this one has lost.

A data folder has one owner, so at its start every running job under another worker's id belongs to one that is gone.

Nobody knows which of the jobs that ran has killed it, if any. So each has lost its worker once more, and the attempt
does not count; after `max_losses` in a row it fails. An attempt that ends by itself, also badly, begins the count
anew: so a job that only ran beside others does not gather their losses over days, and one that fails and kills in turns
is bounded by its attempts. One that snoozes and kills in turns goes on, as whoever snoozes may.
"""

import random
from collections.abc import Callable

import structlog

from service.clock import Clock
from service.store.jobs import Jobs
from service.store.records import HeldJob
from service.worker.executor import Executor
from service.worker.retry import loss_delay_s

log = structlog.get_logger()

LOOK_S = 5.0
_SLICE = 500


class Rescuer:
    """Puts back what dead workers ran. `draw` gives numbers from 0 to 1."""

    def __init__(
        self,
        jobs: Jobs,
        worker_id: str,
        clock: Clock,
        *,
        max_losses: int = 5,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._jobs = jobs
        self._worker_id = worker_id
        self._clock = clock
        self._max_losses = max_losses
        self._draw = draw

    async def rescue(self) -> int:
        """Rescue all there is, slice by slice; return how many jobs that were."""
        total = 0
        while rescued := await self._rescue_slice():
            total += rescued
        if total:
            log.warning("rescued jobs of a worker that died", jobs=total)
        return total

    async def _rescue_slice(self) -> int:
        return await self._jobs.rescue(
            self._worker_id,
            self._clock.now(),
            _SLICE,
            self._max_losses,
            lambda losses: loss_delay_s(losses, self._draw),
        )


class LostJobs:
    """Frees the jobs that run by the database under this worker's id, and that its executor does not hold.

    It has none as long as all goes well: a consumer that was ended by force leaves one. A claim that is just being
    committed, or a settlement, is not to be mistaken for that: what counts is what was so in two looks.
    """

    def __init__(self, jobs: Jobs, executor: Executor, worker_id: str) -> None:
        self._jobs = jobs
        self._executor = executor
        self._worker_id = worker_id
        self._seen: set[HeldJob] = set()

    async def look(self) -> None:
        """Look once, and free what was lost at the look before, too."""
        held = await self._jobs.list_held(self._worker_id)
        lost = {one for one in held if not self._executor.holds(one.id)}
        again, self._seen = lost & self._seen, lost - self._seen
        for one in again:
            if not self._executor.holds(one.id) and await self._executor.free(one):
                log.error("freed a job that no consumer ran", job_id=one.id, attempt=one.attempt)
