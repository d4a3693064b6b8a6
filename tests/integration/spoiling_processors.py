"""What people's tools do to the file that they are given; loaded by path, as a user's own file is."""

import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service import JobContext, Retry, processor


def move(path: Path) -> None:
    shutil.move(path, path.parent.parent / "moved")


def gzip_in_place(path: Path) -> None:
    subprocess.run(["gzip", "-f", path], check=True)


def empty_by_shell(path: Path) -> None:
    subprocess.run(["sh", "-c", ': > "$0"', path], check=True)


def truncate(path: Path) -> None:
    os.truncate(path, 1)


def write_over(path: Path) -> None:
    path.write_bytes(b"spoilt")


def write_inside(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"spoilt")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"spoilt")


def replace_by_rename(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(gzip.compress(path.read_bytes()))
    other.replace(path)


def unlink(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def unlock_and_write(path: Path) -> None:
    path.chmod(0o666)
    path.write_bytes(b"spoilt")


def link_and_write(path: Path) -> None:
    other = path.with_name("other")
    other.hardlink_to(path)
    other.write_bytes(b"spoilt")


def lock(path: Path) -> None:
    path.chmod(0)
    path.parent.chmod(0)


SPOIL: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        move, gzip_in_place, empty_by_shell, truncate, write_over, write_inside, append, replace_by_rename, unlink,
        remove_folder, unlock_and_write, link_and_write, lock,
    )
}  # fmt: skip
REMOVE = ("move", "gzip_in_place", "replace_by_rename", "unlink", "remove_folder")
"""Those that spoil no bytes: what a link must bear too."""


def _spoil(job: JobContext, tools: list[str]) -> list[Any]:
    """Spoil each input with a tool of its own; the second time, say what was found before, and make outputs of two."""
    found = [[file.path.name, hashlib.sha256(file.path.read_bytes()).hexdigest()] for file in job.files]
    *spoilt, renamed, linked = job.files
    for tool, file in zip(tools, spoilt, strict=True):
        SPOIL[tool](file.path)
    renamed.path.rename(job.output("renamed"))
    os.link(linked.path, job.output("linked"))
    if job.attempt == 1:
        raise Retry(delay_s=0)
    return found


@processor("spoil.child")
def in_child(job: JobContext, tools: list[str]) -> list[Any]:
    """Spoil the inputs."""
    return _spoil(job, tools)


@processor("spoil.loop")
async def on_loop(job: JobContext, tools: list[str]) -> list[Any]:
    """Spoil the inputs."""
    return _spoil(job, tools)


@processor("spoil.reads_only", reads_only=True)
def although_it_promised(job: JobContext, tools: list[str]) -> list[Any]:
    """Break the promise, as far as a link bears it."""
    return _spoil(job, tools)


@processor("spoil.liar", reads_only=True)
async def writes_against_its_word(job: JobContext) -> dict[str, Any]:
    """Write into the input; return how many names it had, and whether it could be written."""
    links = job.file.path.stat().st_nlink
    try:
        job.file.path.write_bytes(b"spoilt")
    except PermissionError:
        return {"links": links, "wrote": False}
    return {"links": links, "wrote": True}
