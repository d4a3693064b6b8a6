"""A processor that ends the server's own process, and one that only runs beside it."""

import asyncio
import os
from pathlib import Path

from service import JobContext, processor

PAUSE_S = 0.02


def names_in(folder: Path) -> set[str]:
    """Return the ids of the jobs that have begun there."""
    return {path.name for path in folder.iterdir()}


@processor("killing.exit", min_files=0)
async def leave(_job: JobContext, folder: Path, names: int) -> None:
    """End the server, once the folder has so many names."""
    while len(names_in(folder)) < names:
        await asyncio.sleep(PAUSE_S)
    os._exit(9)


@processor("killing.wait", min_files=0)
async def wait(job: JobContext, folder: Path) -> int:
    """Run until the server dies, and the next time only for a moment; return the number of the attempt."""
    begun = job.id in names_in(folder)
    (folder / job.id).touch()
    await asyncio.sleep(PAUSE_S if begun else 3600)
    return job.attempt
