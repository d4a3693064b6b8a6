"""Processors as a user writes them, in a file of their own."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from service import Depends, Fail, JobContext, Retry, Snooze, processor

PRICES = {"tea": 3, "milk": 1}


@processor("own.count", accepts=["text/*"])
def count(job: JobContext, unit: Literal["words", "lines"] = "words") -> dict[str, int]:
    """Count the words or lines of each input file.

    Args:
        unit: what to count
    """
    counts = {}
    for number, file in enumerate(job.files, 1):
        text = file.path.read_text()
        counts[file.name] = len(text.split() if unit == "words" else text.splitlines())
        job.progress(number / len(job.files), file.name)
        job.log("counted", name=file.name)
    return counts


@processor("own.split", accepts=["text/*"], max_files=1)
def split(job: JobContext, every: Annotated[int, Field(ge=1)] = 1) -> int:
    """Write a file for every so many lines."""
    lines = job.file.path.read_text().splitlines(keepends=True)
    for start in range(0, len(lines), every):
        job.output("part.txt").write_text("".join(lines[start : start + every]))
    return len(job.outputs)


def database(job: JobContext) -> Iterator[sqlite3.Connection]:
    """Open a database in the folder of the attempt."""
    connection = sqlite3.connect(job.folder / "prices.db", check_same_thread=False)
    connection.execute("create table prices (name, price)")
    connection.executemany("insert into prices values (?, ?)", PRICES.items())
    yield connection
    connection.close()
    job.log("closed")


async def currency() -> AsyncIterator[str]:
    await asyncio.sleep(0)
    yield "EUR"


Prices = Annotated[sqlite3.Connection, Depends(database)]
Currency = Annotated[str, Depends(currency)]


def _total(prices: sqlite3.Connection, names: list[str]) -> int:
    return sum(prices.execute("select price from prices where name = ?", [name]).fetchone()[0] for name in names)


@processor("own.total", min_files=0, max_files=0)
def total(_job: JobContext, names: list[str], prices: Prices, currency: Currency) -> list[Any]:
    """Add up prices, in a child process."""
    return [_total(prices, names), currency]


@processor("own.total_on_loop", min_files=0, max_files=0)
async def total_on_loop(_job: JobContext, names: list[str], prices: Prices, currency: Currency) -> list[Any]:
    """Add up prices, on the event loop."""
    return [_total(prices, names), currency]


@processor("own.moody", min_files=0, max_attempts=3)
async def moody(job: JobContext, mood: Literal["fail", "retry", "snooze", "forget", "lie"]) -> Any:
    """Do as told at the first attempt, and succeed at the next."""
    if mood == "forget":
        job.output("never-written.txt")
    elif mood == "lie":
        return object()
    elif mood == "fail":
        raise Fail("it cannot be", code="impossible")
    elif mood == "retry" and job.attempt == 1:
        raise Retry(delay_s=3600)
    elif mood == "snooze" and "woken" not in job.metadata and not job.place.with_name("snoozed").exists():
        job.place.with_name("snoozed").touch()
        raise Snooze(delay_s=24 * 3600)
    return job.attempt
