"""Downloads of the outputs of jobs into a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.exits import Tally
from service.cli.progress import transfer_bar
from service.naming import DistinctNames

if TYPE_CHECKING:
    from service.client import File, Filemill, Job


def download_outputs(
    mill: "Filemill", jobs: Iterable["Job"], folder: Path, tally: Tally, *, overwrite: bool = False
) -> Iterator[Path]:
    """Download all outputs, and yield the path of each when it is there.

    Outputs of the same name are told apart by a number. A file that was there before is never touched, unless
    `overwrite` is set; the tally learns of it, and the others are fetched all the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, name in name_outputs(file for job in jobs for file in job.outputs):
        with tally.going_on():
            with transfer_bar(name) as moved:
                path = mill.download(file.id, folder / name, overwrite=overwrite, on_progress=moved)
            yield path  # only now: while a bar is shown, rich sends what is printed to standard error


def name_outputs(files: Iterable["File"]) -> Iterator[tuple["File", str]]:
    """Give each file a safe name that no other one has: `photo.jpg`, `photo-2.jpg`."""
    names = DistinctNames()
    for file in files:
        yield file, names.take_bare(file.name, file.id)
