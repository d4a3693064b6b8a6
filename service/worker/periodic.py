"""The one loop for duties that come round: it outlives their failures."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()


async def every(interval_s: float, duty: Callable[[], Awaitable[None]]) -> None:
    """Run `duty` now, and again `interval_s` seconds after each end, until cancelled."""
    while True:
        try:
            await duty()
        except Exception:
            log.exception("periodic duty failed", duty=getattr(duty, "__qualname__", str(duty)))
        await asyncio.sleep(interval_s)
