"""How late the event loop is: a sleep that ends late was held up by whatever ran meanwhile."""

import asyncio

from service.clock import Clock
from service.meters import Meters

_NAP_S = 0.5


async def measure_lag(meters: Meters, clock: Clock) -> None:
    """Record the lag of the loop twice a second, for ever."""
    while True:
        asleep_s = clock.monotonic()
        await asyncio.sleep(_NAP_S)
        meters.lagged(max(0.0, clock.monotonic() - asleep_s - _NAP_S))
