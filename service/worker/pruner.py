"""What has had its time goes: finished jobs with their files, idempotency keys, and files that have no row."""

import structlog

from service.clock import Clock, later
from service.settings import Settings
from service.storage.base import Storage
from service.store.files import Files
from service.store.jobs import Jobs

log = structlog.get_logger()

_SLICE = 200


class Pruner:
    """Deletes in slices, rows before bytes: a crash in between leaves a file without a row, never the reverse."""

    def __init__(self, jobs: Jobs, files: Files, storage: Storage, settings: Settings, clock: Clock) -> None:
        self._jobs = jobs
        self._files = files
        self._storage = storage
        self._settings = settings
        self._clock = clock

    async def prune(self) -> None:
        """Delete what is older than its retention."""
        now = self._clock.now()
        expired = later(now, -self._settings.retention_s)
        while job_ids := await self._jobs.list_expired(expired, _SLICE):
            count, file_ids = await self._files.delete_with_jobs(job_ids)
            await self._storage.delete(file_ids)
            log.info("pruned", jobs=count, files=len(file_ids))
        while await self._files.prune_answers(later(now, -self._settings.idempotency_retention_s)):
            pass

    async def sweep(self, boot_id: str) -> int:
        """Delete stored bytes without a row that are older than this start; return how many.

        Ids sort by their time, so every upload of this process has a higher key than `boot_id`: none of those on
        their way to a row is ever taken for an orphan.
        """
        swept = 0
        async for keys in self._storage.list_keys():
            old = [key for key in keys if key < boot_id]
            known = await self._files.find_many(old)
            orphans = [key for key in old if key not in known]
            await self._storage.delete(orphans)
            swept += len(orphans)
        if swept:
            log.warning("swept files without a row", files=swept)
        return swept
