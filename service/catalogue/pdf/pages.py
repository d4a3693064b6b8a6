"""PDFs made of the pages of other PDFs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from service.catalogue.pdf.reading import (
    ACCEPTS,
    EXTRA,
    MAX_PAGES,
    MEMORY_LIMIT_BYTES,
    REQUIRES,
    Pages,
    Password,
    chosen_pages,
    load_page,
    open_pdf,
    pdfium,
)
from service.naming import DistinctNames, FileName, stem_of
from service.processors.base import Fail, InputFile, JobContext, processor

MAX_PARTS = 1000


@processor(
    "pdf.split",
    accepts=ACCEPTS,
    max_files=1,
    extra=EXTRA,
    requires=REQUIRES,
    memory_limit_bytes=MEMORY_LIMIT_BYTES,
    reads_only=True,
)
def split(
    job: JobContext,
    *,
    parts: Annotated[tuple[Pages, ...], Field(max_length=MAX_PARTS)] = (),
    every: Annotated[int, Field(ge=1, le=MAX_PAGES)] = 1,
    password: Password | None = None,
) -> dict[str, Any]:
    """Split a PDF into several, by page ranges or after every so many pages.

    The parts have the pages alone: no outline, no metadata, and no encryption even if the PDF was encrypted.

    Args:
        parts: Page ranges, such as 1-3,5,8- and one PDF is made of each; they take the place of every.
        every: Pages of each part; the last one may have fewer.
        password: Password, if the file is encrypted.
    """
    file = job.file
    names = DistinctNames()
    files = []
    with open_pdf(file, password) as document:
        wanted = _by_ranges(file, document, parts) if parts else _by_number(file, document, every)
        for done, numbers in enumerate(wanted, 1):
            name = names.take(f"{stem_of(file.name, 'document')}-p{_told(numbers)}", ".pdf")
            path = job.output(name)
            with _new_pdf(path) as target:
                _take_over(file, document, numbers, target)
            files.append({"name": name, "pages": numbers, "size_bytes": path.stat().st_size})
            job.progress(done / len(wanted), name)
    return {"files": files}


@processor(
    "pdf.merge", accepts=ACCEPTS, extra=EXTRA, requires=REQUIRES, memory_limit_bytes=MEMORY_LIMIT_BYTES, reads_only=True
)
def merge(
    job: JobContext,
    *,
    name: FileName = "merged.pdf",
    pages: tuple[Pages | None, ...] = (),
    password: Password | None = None,
) -> dict[str, Any]:
    """Merge all PDFs into one, in the order in which they were given.

    The result has the pages alone: no outlines, no metadata, and no encryption even if a PDF was encrypted.

    Args:
        name: Name of the PDF that is made, without folders.
        pages: Pages to take of each file, such as 1-3,5,8- or null for all of them, in the order of the files.
        password: Password of those files that are encrypted.
    """
    _check_one_for_each(job, pages)
    ranges = pages or (None,) * len(job.files)
    path = job.output(name)
    with _new_pdf(path) as target:
        for done, (file, chosen) in enumerate(zip(job.files, ranges, strict=True), 1):
            with open_pdf(file, password) as document:
                _take_over(file, document, chosen_pages(file, document, chosen), target)
            if len(target) > MAX_PAGES:
                raise Fail(f"the result would have more than {MAX_PAGES:,} pages; choose fewer", code="too_large")
            job.progress(done / len(job.files), file.name)
        count = len(target)
    return {"name": name, "pages": count, "size_bytes": path.stat().st_size}


def _check_one_for_each(job: JobContext, pages: tuple[str | None, ...]) -> None:
    if pages and len(pages) != len(job.files):
        raise Fail(
            f"the pages param has {len(pages)} entries for {len(job.files)} files; give one for each, or none at all",
            code="invalid_params",
        )


# ---- which pages


def _by_ranges(file: InputFile, document: Any, parts: tuple[str, ...]) -> list[list[int]]:
    return [chosen_pages(file, document, part) for part in parts]


def _by_number(file: InputFile, document: Any, every: int) -> list[list[int]]:
    numbers = chosen_pages(file, document, None)
    parts = [numbers[start : start + every] for start in range(0, len(numbers), every)]
    if len(parts) > MAX_PARTS:
        raise Fail(
            f"{file.name!r} would make {len(parts):,} files, and at most {MAX_PARTS:,} are made; ask for more pages"
            " in each",
            code="too_large",
        )
    return parts


def _told(numbers: list[int]) -> str:
    """Return the pages as a part of a name: `3`, `1-4`, or `1-9` for any choice from 1 to 9."""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


# ---- making PDFs


@contextmanager
def _new_pdf(path: Path) -> Iterator[Any]:
    """Yield an empty document, and write it to `path` at the end."""
    target = pdfium().PdfDocument.new()
    try:
        yield target
        target.save(path)
    finally:
        target.close()


def _take_over(file: InputFile, document: Any, numbers: list[int], target: Any) -> None:
    """Copy the pages to the end of `target`.

    Raises:
        Fail: a page is broken.
    """
    for number in numbers:
        load_page(file, document, number).close()  # else a broken page would become an empty one
    target.import_pages(document, [number - 1 for number in numbers])
