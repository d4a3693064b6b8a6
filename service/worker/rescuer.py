"""Jobs of dead workers: whatever runs under another worker's id is taken from it.

A data folder has one owner, so at its start every running job belongs to a worker that is gone.
"""

import structlog

from service.clock import Clock
from service.store.jobs import Jobs

log = structlog.get_logger()

_SLICE = 500


class Rescuer:
    """Puts back what dead workers ran."""

    def __init__(self, jobs: Jobs, worker_id: str, clock: Clock) -> None:
        self._jobs = jobs
        self._worker_id = worker_id
        self._clock = clock

    async def rescue(self) -> int:
        """Rescue all there is, slice by slice; return how many jobs that were."""
        total = 0
        while rescued := await self._jobs.rescue(self._worker_id, self._clock.now(), _SLICE):
            total += rescued
        if total:
            log.warning("rescued jobs of a worker that died", jobs=total)
        return total
