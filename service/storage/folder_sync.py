"""Syncing a folder once for all who wait.

A rename is durable when its folder was synced after it. Those who come while a sync runs cannot know whether it
saw their rename, so they wait for the next one, all together.
"""

import asyncio
import os
from pathlib import Path

import aiofiles.os


class FolderSync:
    """Shares fsyncs of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return after a sync that began after this call.

        Raises:
            OSError: the sync failed.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await done

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await aiofiles.os.wrap(_sync)(self._folder)
            except OSError as error:
                _finish(batch, error)
            else:
                _finish(batch, None)
        self._task = None


def _finish(batch: list[asyncio.Future[None]], error: OSError | None) -> None:
    for done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
