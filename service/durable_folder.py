"""Folders that are there after a power cut too."""

import os
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make the folder and those above it, each durable in the one that holds it; what is there is left alone.

    Raises:
        OSError: the disk refused, or a file is in the way.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make every name in the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
