"""A page of the jobs table, bounded in bytes: what is large is left out by SQLite itself, so that nobody holds it.

A page is read in two steps of one transaction: what its jobs weigh, then as many of them as it has room for. A page of
few jobs, of which nothing large is wanted, is read at once: together they cannot weigh much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from service.sizes import KIB, MIB
from service.states import State
from service.store.ids import first_id_at
from service.store.models import File, Job
from service.store.page_statements import (
    FILE_FACTS,
    HEAVY,
    LARGE_BYTES,
    LEAVABLE,
    MOST_FILES,
    MOST_NAME_CHARS,
    ROLES,
    files_statement,
    names_of,
    page_statement,
    rows_statement,
    texts,
    wants,
)
from service.store.records import JobRecord
from service.store.rows import as_loaded

PAGE_BYTES = MIB  # about; a page that would weigh more has fewer jobs, but at least one
WHOLE_PAGE_BYTES = 8 * MIB  # the same, where large fields were asked for
_FEW = 64
_ROW_BYTES, _FILE_BYTES = KIB, 640  # what the rest of a job weighs as JSON, and a file with a name of usual length


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; `before_id` is the id that the page before ended with.

    `fields` are the names of those that are wanted, and then `params`, `metadata` and `result` are given however large
    they are. None stands for all, without what is large.
    """

    state: State | None = None
    processor: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    before_id: str | None = None
    limit: int = 50
    fields: frozenset[str] | None = None

    @property
    def heavy(self) -> frozenset[str] | None:
        """The wanted ones of those fields that can be large; None for all."""
        return None if self.fields is None else self.fields & HEAVY

    @property
    def is_light(self) -> bool:
        """Whether its page cannot weigh much."""
        return self.limit < _FEW and (self.fields is None or self.fields.isdisjoint(LEAVABLE))


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, the newest first; `next_id` is the `before_id` of the next page, or None on the last."""

    records: list[JobRecord]
    next_id: str | None


@dataclass(frozen=True, slots=True)
class _Weight:
    """What a job weighs: bytes of JSON by field, and how many files it has."""

    id: str
    sizes: dict[str, int]
    input_count: int
    output_count: int
    job: Job | None

    def kept_bytes(self, wanted: JobFilter) -> int:
        """Return what is left of it in a list."""
        left_out = sum(self.sizes[name] for name in self.shortened(wanted) if name != "error")
        shown = min(self.input_count, MOST_FILES) + min(self.output_count, MOST_FILES)
        return _ROW_BYTES + sum(self.sizes.values()) - left_out + shown * _FILE_BYTES

    def shortened(self, wanted: JobFilter) -> list[str]:
        """Return the names of the texts that are too large for a list."""
        return [
            name
            for name, size_bytes in self.sizes.items()
            if size_bytes > LARGE_BYTES and (name == "error" or (name in LEAVABLE and wanted.fields is None))
        ]


async def read_page(session: AsyncSession, wanted: JobFilter) -> Page:
    """Return up to `limit` jobs: fewer where they would weigh more than a page may."""
    found = await _weigh(session, wanted)
    chosen = _fitting(found[: wanted.limit], wanted)
    rows = {one.id: one.job for one in chosen if one.job} or await _rows_of(session, wanted, chosen)
    shown = await _first_files(session, wanted, chosen)
    records = [_record(rows[one.id], one, wanted, shown) for one in chosen]
    return Page(records, chosen[-1].id if len(found) > len(chosen) else None)


def _record(job: Job, weight: _Weight, wanted: JobFilter, shown: "_Shown") -> JobRecord:
    inputs, outputs = (tuple(shown.files[role].get(job.id, ())) for role in ROLES)
    more_inputs, more_outputs = weight.input_count - len(inputs), weight.output_count - len(outputs)
    omitted = {*weight.shortened(wanted), *shown.cut.get(job.id, ())}
    omitted |= {name for name, more in (("inputs", more_inputs), ("outputs", more_outputs)) if more > 0}
    return JobRecord(job, inputs, outputs, tuple(sorted(omitted)), more_inputs, more_outputs)


# ---- what the jobs weigh


async def _weigh(session: AsyncSession, wanted: JobFilter) -> list[_Weight]:
    """Return the weights of the jobs of the page, and of one more if there is one; if it is light, with their rows."""
    names, columns = texts(wanted.heavy), names_of(wanted.heavy)
    statement, given = _page_of(wanted)
    found = []
    for job_id, input_count, output_count, *rest in await session.exec(statement, params=given):
        sizes, row = dict(zip(names, rest, strict=False)), rest[len(names) :]
        found.append(_Weight(job_id, sizes, input_count, output_count, _job(columns, row) if row else None))
    return found


def _fitting(weights: Sequence[_Weight], wanted: JobFilter) -> list[_Weight]:
    """Return the first jobs that together are not too much for a page: at least one."""
    room_bytes = PAGE_BYTES if wanted.fields is None else WHOLE_PAGE_BYTES
    chosen: list[_Weight] = []
    for one in weights:
        room_bytes -= one.kept_bytes(wanted)
        if chosen and room_bytes < 0:
            break
        chosen.append(one)
    return chosen


def _page_of(wanted: JobFilter) -> tuple[Any, dict[str, Any]]:
    """Return the statement for a page, and one job more, with its parameters."""
    given = {
        "processor": wanted.processor,
        "created_after": wanted.created_after and first_id_at(wanted.created_after),
        "created_before": wanted.created_before and first_id_at(wanted.created_before),
        "before_id": wanted.before_id,
    }
    shape = frozenset(name for name, value in given.items() if value is not None)
    statement = page_statement(wanted.heavy, wanted.state, shape, with_rows=wanted.is_light)
    return statement, {**{name: given[name] for name in shape}, "most": wanted.limit + 1}


# ---- the jobs and their files, as far as they are shown


async def _rows_of(session: AsyncSession, wanted: JobFilter, chosen: Sequence[_Weight]) -> dict[str, Job]:
    rows = await session.exec(rows_statement(wanted.heavy), params={"ids": [one.id for one in chosen]})
    found = (_job(names_of(wanted.heavy), row) for row in rows)
    return {job.id: job for job in found}


def _job(names: Sequence[str], row: Sequence[Any]) -> Job:
    return as_loaded(Job, **{"params": {}, "metadata_": {}, **dict(zip(names, row, strict=True))})


@dataclass(frozen=True, slots=True)
class _Shown:
    """The files of a page: by role and job, and of which jobs a name was cut."""

    files: dict[str, dict[str, list[File]]]
    cut: dict[str, set[str]]


async def _first_files(session: AsyncSession, wanted: JobFilter, chosen: Sequence[_Weight]) -> _Shown:
    shown = _Shown({"input": {}, "output": {}}, {})
    asked = {
        "roles": [role for role in ROLES if wants(wanted.heavy, f"{role}s")],
        "ids": [one.id for one in chosen if one.input_count or one.output_count],
    }
    rows = await session.exec(files_statement(), params=asked) if asked["ids"] else ()
    for job_id, role, name, *facts in rows:
        if len(name) > MOST_NAME_CHARS:
            shown.cut.setdefault(job_id, set()).add(f"{role}s")
        file = as_loaded(File, **dict(zip(FILE_FACTS, facts, strict=True)), name=name[:MOST_NAME_CHARS])
        shown.files[role].setdefault(job_id, []).append(file)
    return shown
