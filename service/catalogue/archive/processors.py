"""Processors of archives: zip, tar, tar.gz and tar.zst."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from service.catalogue.archive.names import matches, path_of
from service.catalogue.archive.reading import ENCRYPTED, UNKNOWN_COMPRESSION, Archive, Entry, Format, open_archive
from service.catalogue.archive.writing import write_archive
from service.naming import DistinctNames, FileName, stem_of
from service.processors.base import Fail, InputFile, JobContext, processor

GIB = 1024**3
MAX_ENTRIES = 100_000
MAX_SHOWN = 1000
_REFUSALS = {
    ENCRYPTED: ("locked by a password", "encrypted_entry"),
    UNKNOWN_COMPRESSION: ("packed in a way that is not read here", "unsupported_compression"),
}
FREE_BYTES = 10 * 1024**2  # so much may be unpacked whatever the ratio


@processor("archive.list", accepts=["*/*"], memory_limit_bytes=GIB, reads_only=True)
def list_entries(
    job: JobContext,
    *,
    max_entries: Annotated[int, Field(ge=1, le=MAX_ENTRIES)] = 10_000,
) -> dict[str, Any]:
    """List the entries of archives, without unpacking them.

    Each entry has its name, kind and size, as the archive gives them, and what forbids to unpack it. The first
    1,000 are in the result; all of them are in an output file of JSON lines, if there are more.

    Args:
        max_entries: entries after which it gives up.
    """
    names = DistinctNames()
    return {"files": [_listing(job, file, max_entries, names) for file in job.each_file()]}


def _listing(job: JobContext, file: InputFile, max_entries: int, names: DistinctNames) -> dict[str, Any]:
    with open_archive(file) as archive:
        entries = [entry.facts() for entry in _counted(archive, file, max_entries)]
        form = archive.format
    if len(entries) > MAX_SHOWN:
        with job.output(names.take(stem_of(file.name, "archive"), ".entries.jsonl")).open("w") as lines:
            lines.writelines(json.dumps(entry) + "\n" for entry in entries)
    return {
        "name": file.name,
        "format": form,
        "count": len(entries),
        "size_bytes": sum(entry["size_bytes"] for entry in entries),
        "dangerous": sum(entry["danger"] is not None for entry in entries),
        "entries": entries[:MAX_SHOWN],
    }


@processor("archive.extract", accepts=["*/*"], max_files=1, memory_limit_bytes=GIB, reads_only=True)
def extract(
    job: JobContext,
    *,
    include: Annotated[tuple[str, ...], Field(max_length=100)] = (),
    dangerous: Literal["fail", "skip"] = "fail",
    max_entries: Annotated[int, Field(ge=1, le=10_000)] = 1000,
    max_bytes: Annotated[int, Field(ge=1, le=100 * GIB)] = (10 * GIB),
    max_ratio: Annotated[float, Field(ge=1, le=100_000)] = 200,
) -> dict[str, Any]:
    """Unpack an archive into output files.

    Archives in the archive stay packed. Links, devices and names that lead out of the folder are never unpacked;
    what counts is the bytes that come out, not what the archive says of itself.

    Args:
        include: patterns: *.csv in any folder, docs/*.csv in that one, docs/** in it and below; without any, all files.
        dangerous: what to do at links, devices, absolute names and names that lead upwards.
        max_entries: entries after which it gives up.
        max_bytes: bytes, of all files, after which it gives up.
        max_ratio: how many times larger than the archive the files may be.
    """
    budget = _Budget(job.file, max_bytes, max_ratio)
    names = DistinctNames()
    files: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    with open_archive(job.file) as archive:
        for entry in _counted(archive, job.file, max_entries):
            if _is_wanted(entry, include):
                if entry.danger is None:
                    files.append(_unpack(job, archive, entry, names, budget))
                else:
                    skipped.append(_skip(job.file, entry, dangerous))
        form = archive.format
    return {"format": form, "files": files[:MAX_SHOWN], "count": len(files), "size_bytes": budget.spent_bytes,
            "skipped": skipped[:MAX_SHOWN]}  # fmt: skip


@processor("archive.create", memory_limit_bytes=GIB, reads_only=True)
def create(
    job: JobContext,
    *,
    format: Format = "zip",  # noqa: A002
    name: FileName = "archive",
    level: Annotated[int, Field(ge=1, le=9)] = 6,
) -> dict[str, Any]:
    """Pack all input files into one archive.

    The same files always give the same bytes: no times and no owners are recorded. Files of the same name are
    told apart by a number.

    Args:
        format: format of the archive.
        name: name of the archive, without folders; the suffix of the format is added.
        level: 1 packs fastest, 9 smallest; tar knows none.
    """
    suffix = f".{format}"
    output = name if name.lower().endswith(suffix) else name + suffix
    path = job.output(output)
    packed = list(zip(_names(job), job.files, strict=True))
    write_archive(path, format, level, packed, job.progress)
    entries = [{"name": name, "size_bytes": file.size_bytes} for name, file in packed]
    return {"output": output, "format": format, "size_bytes": path.stat().st_size, "entries": entries[:MAX_SHOWN]}


# ---- steps


def _counted(archive: Archive, file: InputFile, max_entries: int) -> Iterator[Entry]:
    for number, entry in enumerate(archive.entries):
        if number == max_entries:
            message = f"{file.name!r} has more than {max_entries:,} entries; raise max_entries or split it"
            raise Fail(message, code="too_many_entries")
        yield entry


def _is_wanted(entry: Entry, include: tuple[str, ...]) -> bool:
    if entry.kind == "folder" and entry.danger is None:
        return False
    return not include or any(matches(str(path_of(entry.name)), pattern) for pattern in include)


def _unpack(job: JobContext, archive: Archive, entry: Entry, names: DistinctNames, budget: "_Budget") -> dict[str, Any]:
    path = path_of(entry.name)
    output = names.take(stem_of(path.name, "file"), path.suffix)
    size_bytes = 0
    with job.output(output).open("wb") as target:
        for piece in archive.pieces(entry):
            budget.spend(len(piece))
            size_bytes += target.write(piece)
    job.progress(0, str(path))
    return {"name": str(path), "output": output, "size_bytes": size_bytes}


def _skip(file: InputFile, entry: Entry, dangerous: Literal["fail", "skip"]) -> dict[str, Any]:
    facts = entry.facts()
    if dangerous == "fail":
        adjective, code = _REFUSALS.get(entry.danger or "", ("dangerous", "dangerous_entry"))
        name = facts["name"][:200]
        message = f"{file.name!r} has an entry that is {adjective}, {name!r} ({entry.danger}); skip leaves such out"
        raise Fail(message, code=code)
    return facts


@dataclass(slots=True)
class _Budget:
    """How much may still be unpacked."""

    file: InputFile
    max_bytes: int
    max_ratio: float
    spent_bytes: int = 0

    def spend(self, size_bytes: int) -> None:
        self.spent_bytes += size_bytes
        if self.spent_bytes > self.max_bytes:
            message = f"{self.file.name!r} unpacks to more than {self.max_bytes:,} bytes; raise max_bytes"
            raise Fail(message, code="too_large")
        if self.spent_bytes > max(FREE_BYTES, self.file.size_bytes * self.max_ratio):
            message = f"{self.file.name!r} unpacks to more than {self.max_ratio:g} times its size, as a bomb does"
            raise Fail(f"{message}; raise max_ratio if you trust it", code="ratio_too_high")


def _names(job: JobContext) -> Iterator[str]:
    names = DistinctNames()
    for file in job.files:
        path = path_of(file.name)
        stem = str(path.with_suffix("")) if path.suffix else str(path)
        yield names.take(stem, path.suffix)
