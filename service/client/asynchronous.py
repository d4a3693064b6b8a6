"""The client for an event loop."""

from types import TracebackType
from typing import Self

import httpx

from service.client.operations import Operations
from service.client.wire import LoopWire
from service.clock import Clock, SystemClock
from service.settings import load_settings


class AsyncFilemill(Operations):
    """A Filemill server, seen from an event loop; all that `Filemill` can do, to be awaited.

    >>> import asyncio
    >>> from pathlib import Path
    >>> from service.client import AsyncFilemill

    >>> async def thumbnails(*photos: Path) -> list[str]:
    ...     async with AsyncFilemill() as mill:
    ...         submitted = [job async for job in mill.submit_many("image.thumbnail", photos, {"width": 80})]
    ...         finished = await asyncio.gather(*(mill.wait(job.id, timeout_s=30) for job in submitted))
    ...         paths = [await mill.download(file, Path()) for job in finished for file in job.outputs]
    ...     return [path.name for path in paths]

    >>> asyncio.run(thumbnails(Path("photo.jpg")))
    ['photo-80w.jpg']

    `on_progress` of an upload and of a download, and the callbacks of `watch`, are called on the event loop.
    """

    def __init__(
        self, url: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None, clock: Clock | None = None
    ) -> None:
        self.url = load_settings().url if url is None else url
        super().__init__(LoopWire(self.url, transport), clock or SystemClock())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
