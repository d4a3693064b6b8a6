"""What is in a PDF: its facts and its text."""

import itertools
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from service.catalogue.pdf.reading import (
    ACCEPTS,
    EXTRA,
    MEMORY_LIMIT_BYTES,
    REQUIRES,
    Pages,
    Password,
    chosen_pages,
    load_page,
    open_pdf,
    pdfium,
)
from service.naming import DistinctNames, stem_of
from service.processors.base import JobContext, processor

MAX_LISTED_PAGES = 1000
MAX_OUTLINE_ENTRIES = 1000
MAX_TITLE_CHARS = 500
MAX_RESULT_BYTES = 1024**2
POINTS_PER_MM = 72 / 25.4
_METADATA = ("Title", "Author", "Subject", "Keywords", "Creator", "Producer", "CreationDate", "ModDate")
_PERMISSIONS = {"print": 1 << 2, "modify": 1 << 3, "copy": 1 << 4, "annotate": 1 << 5}  # PDF 32000-1, table 22
_DATE = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?.*")
_FORMS = {0: None, 1: "acroform", 2: "xfa", 3: "xfa"}


# ---- pdf.info


@processor(
    "pdf.info", accepts=ACCEPTS, extra=EXTRA, requires=REQUIRES, memory_limit_bytes=MEMORY_LIMIT_BYTES, reads_only=True
)
def info(job: JobContext, *, password: Password | None = None) -> dict[str, Any]:
    """Tell the number and sizes of the pages, the metadata and the outline of each PDF.

    Sizes are in millimetres, for the first thousand pages, and null for a page that is damaged. Of the outline, the
    first thousand entries are told.

    Args:
        password: Password of those files that are encrypted.
    """
    files = []
    for file in job.each_file():
        with open_pdf(file, password) as document:
            files.append({"name": file.name, **_facts(document)})
    return {"files": files}


def _facts(document: Any) -> dict[str, Any]:
    version = document.get_version()
    return {
        "pages": len(document),
        "version": None if version is None else f"{version // 10}.{version % 10}",
        "is_tagged": document.is_tagged(),
        "form": _FORMS.get(document.get_formtype()),
        "attachments": max(document.count_attachments(), 0),
        **_security(document),
        "metadata": dict(_metadata(document)),
        "page_sizes": [_size(document, index) for index in range(min(len(document), MAX_LISTED_PAGES))],
        "outline": list(_outline(document)),
    }


def _security(document: Any) -> dict[str, Any]:
    raw = pdfium().raw
    if raw.FPDF_GetSecurityHandlerRevision(document) == -1:
        return {"is_encrypted": False, "permissions": sorted(_PERMISSIONS)}
    bits = raw.FPDF_GetDocUserPermissions(document)
    return {"is_encrypted": True, "permissions": sorted(name for name, bit in _PERMISSIONS.items() if bits & bit)}


def _metadata(document: Any) -> Iterator[tuple[str, str]]:
    for key in _METADATA:
        try:
            value = document.get_metadata_value(key).strip("\0 ")
        except UnicodeDecodeError:  # half of a surrogate pair
            continue
        if value:
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
            yield name, (_date(value) if name.endswith("_date") else value)[:MAX_TITLE_CHARS]


def _date(value: str) -> str:
    """Return a date of PDF 32000-1, 7.9.4 as ISO 8601 has it; what is not one stays as it is."""
    match = _DATE.fullmatch(value)
    if match is None:
        return value
    year, *rest = match.groups("")[:6]
    month, day, hour, minute, second = (int(part or least) for part, least in zip(rest, (1, 1, 0, 0, 0), strict=True))
    zone = "+00:00" if match[7] else f"{match[8]}:{match[9] or '00'}" if match[8] else ""
    text = f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}"
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return value


def _size(document: Any, index: int) -> dict[str, float] | None:
    """Return the size of a page, or None for one that is damaged."""
    try:
        width, height = document.get_page_size(index)
    except pdfium().PdfiumError:
        return None
    return {"width_mm": round(width / POINTS_PER_MM, 1), "height_mm": round(height / POINTS_PER_MM, 1)}


def _outline(document: Any) -> Iterator[dict[str, Any]]:
    for entry in itertools.islice(document.get_toc(), MAX_OUTLINE_ENTRIES):
        try:
            title = entry.get_title().strip("\0 ")[:MAX_TITLE_CHARS]
        except UnicodeDecodeError:
            title = ""
        target = entry.get_dest()
        index = None if target is None else target.get_index()
        yield {"level": entry.level + 1, "title": title, "page": None if index is None else index + 1}


# ---- pdf.text


@processor(
    "pdf.text", accepts=ACCEPTS, extra=EXTRA, requires=REQUIRES, memory_limit_bytes=MEMORY_LIMIT_BYTES, reads_only=True
)
def text(
    job: JobContext,
    *,
    pages: Pages | None = None,
    format: Literal["text", "json"] = "text",  # noqa: A002 - the word that clients use
    password: Password | None = None,
) -> dict[str, Any]:
    """Read the text of each page of each PDF.

    One output file for each PDF holds all of it. The result holds it too, as long as all of it together takes
    less than 1 MiB; beyond that `text` is null there. Pages that are pictures, such as scans, have no text.

    Args:
        pages: Pages to read, such as 1-3,5,8- from the first to the last; without it, all of them.
        format: text puts a form feed after each page; json is an array with the number and text of each page.
        password: Password of those files that are encrypted.
    """
    names = DistinctNames()
    files = []
    room_bytes = MAX_RESULT_BYTES
    for file in job.files:
        with open_pdf(file, password) as document:
            read = list(_texts(job, file, document, chosen_pages(file, document, pages)))
            count = len(document)
        name = names.take(stem_of(file.name, "document"), ".txt" if format == "text" else ".json")
        job.output(name).write_text(_joined(read) if format == "text" else json.dumps(read), encoding="utf-8")
        listed, room_bytes = _listed(read, room_bytes)
        files.append({"name": file.name, "output": name, "page_count": count, "pages": listed})
    return {"files": files}


def _texts(job: JobContext, file: Any, document: Any, numbers: list[int]) -> Iterator[dict[str, Any]]:
    for done, number in enumerate(numbers, 1):
        page = load_page(file, document, number)
        text_page = page.get_textpage()
        yield {"page": number, "text": _plain(text_page.get_text_bounded())}
        text_page.close()
        page.close()
        job.progress(done / len(numbers), f"{file.name}, page {number}")


def _plain(raw: str) -> str:
    """Return the text with one kind of line end, and with the hyphens of words that go over the line."""
    return raw.replace("\r\n", "\n").replace("\x02", "-").replace("\ufffe", "-").replace("\0", "")


def _joined(pages: list[dict[str, Any]]) -> str:
    return "".join(page["text"] + "\f" for page in pages)


def _listed(pages: list[dict[str, Any]], room_bytes: int) -> tuple[list[dict[str, Any]], int]:
    """Return the pages for the result, and the room left: their text is there only if all of it has room."""
    size_bytes = sum(len(json.dumps(page["text"])) for page in pages)
    fits = size_bytes <= room_bytes
    listed = [
        {"page": page["page"], "characters": len(page["text"]), "text": page["text"] if fits else None}
        for page in pages
    ]
    return listed, room_bytes - size_bytes if fits else 0
