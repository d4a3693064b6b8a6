"""Syncing a folder once for all who wait.

A rename is durable when its folder was synced after it. Those who come while a sync runs cannot know whether it
saw their rename, so they wait for the next one, all together.
"""

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

from service.durable_folder import sync_folder
from service.own_threads import in_own_thread


class FolderSync:
    """Shares fsyncs of one folder; `require` raises, in the thread, where the folder is not what it should be."""

    def __init__(self, folder: Path, require: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._require = require
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return after a sync that began after this call.

        Raises:
            OSError: the sync failed.
            Exception: what `require` raised.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await done

    def _sync(self) -> None:
        self._require()
        sync_folder(self._folder)

    async def _run(self) -> None:
        """Sync as long as somebody waits. Whatever happens, nobody is left waiting."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await in_own_thread(self._sync)
                except asyncio.CancelledError:
                    _finish(batch, _cancelled())
                    raise
                except Exception as error:  # noqa: BLE001 - it is told to those who wait
                    _finish(batch, error)
                else:
                    _finish(batch, None)
        finally:
            self._task = None
            _finish(self._waiting, _cancelled())
            self._waiting = []


def _cancelled() -> OSError:
    return OSError(errno.ECANCELED, "the sync was cancelled")


def _finish(batch: list[asyncio.Future[None]], error: Exception | None) -> None:
    for done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
