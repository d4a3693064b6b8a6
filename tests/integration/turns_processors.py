"""Processors that write down that they began, and end when they are told to."""

# ruff: noqa: ARG001 - the job is there because every processor has it

import time
from pathlib import Path

from service import JobContext, Retry, Snooze, processor


def _begin(folder: str, name: str) -> None:
    with Path(folder, "begun").open("a") as begun:
        begun.write(f"{name}\n")


@processor("turns.long", min_files=0)
def long(job: JobContext, folder: str, number: int) -> None:
    """Run until there is a file of this number."""
    _begin(folder, f"long {number}")
    while not Path(folder, f"{number}").exists():
        time.sleep(0.01)


@processor("turns.quick", min_files=0)
def quick(job: JobContext, folder: str) -> None:
    """End at once."""
    _begin(folder, "quick")


@processor("turns.alone", min_files=0, max_concurrency=1)
def alone(job: JobContext, folder: str) -> None:
    """End at once, one at a time."""
    _begin(folder, "alone")


@processor("turns.restless", min_files=0)
def restless(job: JobContext, folder: str, kind: str) -> None:
    """Ask to be called again at once, for ever, unless it is content."""
    _begin(folder, "restless")
    match kind:
        case "snooze":
            raise Snooze(0)
        case "retry":
            raise Retry(delay_s=0)
