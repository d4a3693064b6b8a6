"""The folders in which attempts work: one for each start of the server, so that leftovers can be told apart."""

import os
import shutil
from pathlib import Path

from service.own_threads import in_own_thread


class BootFolder:
    """`parent/<end of the boot's id>`: what a server that was killed left beside it is nobody's.

    The name is short because processors make sockets below it, and the path of one has at most 107 bytes (unix(7)).
    """

    def __init__(self, parent: Path, boot: str) -> None:
        self.path = parent / boot[-8:]
        self.path.mkdir(parents=True, exist_ok=True)

    async def sweep(self) -> None:
        """Delete the folders of every other start."""
        await in_own_thread(self._delete_others)

    def _delete_others(self) -> None:
        with os.scandir(self.path.parent) as entries:
            for entry in entries:
                if entry.name != self.path.name:
                    shutil.rmtree(entry.path, ignore_errors=True)
