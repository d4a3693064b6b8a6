"""What has had its time goes: finished jobs with their files, files that nobody uses, idempotency keys, lost bytes."""

from collections.abc import Sequence
from datetime import datetime

import structlog

from service.clock import Clock, later
from service.errors import StorageFailedError
from service.settings import Settings
from service.storage.base import Storage
from service.store.files import Files
from service.store.ids import first_id_at, is_id
from service.store.jobs import Jobs

log = structlog.get_logger()

_SLICE = 200
_ASK = 1000
_SWEEP_INTERVAL_S = 3600.0
_ORPHAN_AGE_S = 3600.0


class Pruner:
    """Deletes in slices, rows before bytes: a crash in between leaves a file without a row, never the reverse."""

    def __init__(self, jobs: Jobs, files: Files, storage: Storage, settings: Settings, clock: Clock) -> None:
        self._jobs = jobs
        self._files = files
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._swept_at_s = clock.monotonic()

    async def prune(self) -> None:
        """Delete what is older than its retention, and give the room back; now and then, bytes without a row go too."""
        now = self._clock.now()
        await self._prune_jobs(later(now, -self._settings.retention_s), now)
        if self._settings.file_retention_s:
            await self._prune_files(later(now, -self._settings.file_retention_s))
        while await self._files.prune_answers(later(now, -self._settings.idempotency_retention_s)):
            pass
        await self._confirm_fresh()
        if self._clock.monotonic() - self._swept_at_s >= _SWEEP_INTERVAL_S:
            await self.sweep(first_id_at(later(now, -_ORPHAN_AGE_S)))
        while await self._files.shrink():
            pass

    async def sweep(self, before: str) -> int:
        """Delete stored bytes without a row whose id is below `before`; return how many.

        Ids sort by their time. Bytes that this process keeps, and that may still be on their way to a row, are left
        alone; and so is what does not look like a file of the service.
        """
        self._swept_at_s = self._clock.monotonic()
        swept = 0
        async for keys in self._storage.list_keys():
            orphans = await self._orphans([key for key in keys if is_id(key) and key < before])
            swept += await self._delete_orphans(orphans)
        if swept:
            log.warning("swept files without a row", files=swept)
        return swept

    async def _prune_jobs(self, expired: datetime, now: datetime) -> None:
        while job_ids := await self._jobs.list_expired(expired, _SLICE):
            count, file_ids = await self._files.delete_with_jobs(job_ids, finished_before=expired, at=now)
            await self._storage.delete(file_ids)
            log.info("pruned", jobs=count, files=len(file_ids))

    async def _prune_files(self, expired: datetime) -> None:
        while file_ids := await self._files.delete_unused(expired, _SLICE):
            await self._storage.delete(file_ids)
            log.info("pruned files that no job used", files=len(file_ids))

    async def _confirm_fresh(self) -> None:
        """Tell the storage which of the bytes that it kept lately have come to their rows."""
        fresh = self._storage.list_fresh()
        for start in range(0, len(fresh), _ASK):
            self._storage.confirm(await self._files.find_many(fresh[start : start + _ASK]))

    async def _orphans(self, keys: Sequence[str]) -> list[str]:
        # first of all: what becomes fresh from now on is not among the keys, and what has its row by then is known
        fresh = set(self._storage.list_fresh())
        old = [key for key in keys if key not in fresh]
        known = await self._files.find_many(old)
        return [key for key in old if key not in known]

    async def _delete_orphans(self, orphans: Sequence[str]) -> int:
        """Delete them, and go on with the rest when one cannot be deleted."""
        try:
            await self._storage.delete(orphans)
        except StorageFailedError as error:
            log.warning("files without a row cannot be deleted", error=error.detail)
            return 0
        return len(orphans)
