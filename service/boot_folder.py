"""The folders in which attempts work: one for each start of the server, so that leftovers can be told apart."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import aiofiles.os


class BootFolder:
    """`parent/<boot>`: what a server that was killed left beside it is nobody's."""

    def __init__(self, parent: Path, boot: str) -> None:
        self.path = parent / boot
        self.path.mkdir(parents=True, exist_ok=True)

    async def sweep(self) -> None:
        """Delete the folders of every other start."""
        await aiofiles.os.wrap(_delete_all)(self._others())

    def _others(self) -> Iterable[Path]:
        return (Path(entry) for entry in os.scandir(self.path.parent) if entry.name != self.path.name)


def _delete_all(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
