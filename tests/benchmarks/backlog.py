"""A database that already holds a million jobs, as if they had been submitted one by one."""

import itertools
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, text

from service.clock import SystemClock
from service.states import Move
from service.store.additions import job_row
from service.store.events import state_event
from service.store.ids import new_id
from service.store.migrate import upgrade
from service.store.records import NewJob
from service.store.tables import events, jobs
from tests.benchmarks.lab import Piece

ABSENT = "bench.absent"  # no server has it: its jobs stay where they are
NOOP = "bench.noop"
_SLICE = 10_000


def lay_out(piece: Piece, count: int, *, processor: str = NOOP, finished: bool = False) -> Path:
    """Return a data folder of the piece with so many jobs; they are made once in a run, and copied after that."""
    model = piece.lab.models / f"{count}-{processor}-{'finished' if finished else 'queued'}"
    if not model.exists():
        partial = model.with_suffix(".partial")
        fill(partial, count, processor=processor, finished=finished)
        partial.rename(model)
    data = piece.folder / "data"
    data.mkdir()
    shutil.copyfile(model / "filemill.db", data / "filemill.db")
    os.sync()
    return data


def fill(data_dir: Path, count: int, *, processor: str = NOOP, finished: bool = False) -> float:
    """Add jobs that are queued, or that succeeded a day ago; return the seconds. Job n has the number n."""
    began = time.perf_counter()
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "filemill.db"
    upgrade(path)
    engine = create_engine(f"sqlite:///{path}")
    numbers = iter(range(count))
    with engine.connect() as connection:
        connection.execute(text("PRAGMA synchronous=OFF"))
        while piece := list(itertools.islice(numbers, _SLICE)):
            _add(connection, piece, processor, finished=finished)
            connection.commit()
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()
    return time.perf_counter() - began


def _add(connection: Any, numbers: list[int], processor: str, *, finished: bool) -> None:
    now = SystemClock().now() - timedelta(days=1)
    rows, first_events = [], []
    for number in numbers:
        new = NewJob(
            id=new_id(), processor=processor, params={"number": number}, metadata={}, priority=0, max_attempts=3,
            timeout_s=600, created_at=now, run_after=now,
        )  # fmt: skip
        rows.append(job_row(new) | ({"state": "succeeded", "finished_at": now, "attempt": 1} if finished else {}))
        first_events.append(state_event(new.id, 0, Move.SUBMIT, now))
    connection.execute(insert(jobs), rows)
    connection.execute(insert(events), first_events)
