"""Jobs of dead workers: whatever runs under another worker's id is taken from it.

A data folder has one owner, so at its start every running job belongs to a worker that is gone.

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
from service.worker.retry import loss_delay_s

log = structlog.get_logger()

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
