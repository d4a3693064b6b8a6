"""A processor on the event loop that swallows whatever would end it."""

import asyncio

from service import JobContext, processor


@processor("stubborn.loop", min_files=0)
async def never_ends(job: JobContext) -> None:
    """Go on, come what may."""
    job.log("running")
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:  # noqa: BLE001, S112 - that is what it is for
            continue
