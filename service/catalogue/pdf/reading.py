"""Opening PDFs from anywhere, and choosing pages of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field

from service.processors.base import Fail, InputFile

ACCEPTS = ("application/pdf",)
EXTRA = "pdf"
REQUIRES = ("pypdfium2",)
MEMORY_LIMIT_BYTES = 1024**3  # a few kilobytes of a PDF may expand to any size
MAX_PAGES = 5000
_HEAD_BYTES = 1024  # where readers look for the mark of a PDF

Pages = Annotated[
    str,
    Field(max_length=2000, pattern=r"^\d{1,7}(-\d{0,7})?(,\d{1,7}(-\d{0,7})?)*$", examples=["1-3,5,8-"]),
]
Password = Annotated[str, Field(max_length=127, json_schema_extra={"format": "password", "writeOnly": True})]


def pdfium() -> Any:
    """Return pypdfium2; it is loaded by the first job that needs it."""
    import pypdfium2  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, and large

    return pypdfium2


@contextmanager
def open_pdf(file: InputFile, password: str | None) -> Iterator[Any]:
    """Yield the document; its `len` is the number of pages, from 1 on.

    The password is never part of what is raised.

    Raises:
        Fail: it is not a PDF, is broken, or needs a password that was not given; also for whatever PDFium
            refuses inside the block.
    """
    _check_head(file)
    try:
        document = pdfium().PdfDocument(file.path, password=password)
    except pdfium().PdfiumError as error:
        raise _unopened(file, error.err_code, has_password=bool(password)) from None
    try:
        yield document
    except pdfium().PdfiumError as error:
        raise Fail(f"{file.name!r} is damaged: {str(error)[:200]}", code="damaged_file") from None
    finally:
        document.close()


def chosen_pages(file: InputFile, document: Any, pages: str | None) -> list[int]:
    """Return page numbers, from 1 on: `1-3,5,8-` is the first three, the fifth, and from the eighth to the last.

    Raises:
        Fail: there is no such page, or there are too many.
    """
    count = len(document)
    ranges = [range(1, count + 1)] if pages is None else [_range(file, part, count) for part in pages.split(",")]
    total = sum(map(len, ranges))
    if total > MAX_PAGES:
        raise Fail(
            f"these are {total:,} pages of {file.name!r}; choose at most {MAX_PAGES:,} with the pages param",
            code="too_large",
        )
    return [number for one in ranges for number in one]


def load_page(file: InputFile, document: Any, number: int) -> Any:
    """Return the page with this number, from 1 on.

    Raises:
        Fail: the page is broken.
    """
    try:
        return document[number - 1]
    except pdfium().PdfiumError:
        raise Fail(f"page {number} of {file.name!r} is damaged; leave it out", code="damaged_file") from None


def _range(file: InputFile, part: str, count: int) -> range:
    first, dash, last = part.partition("-")
    start, stop = int(first), int(last) if last else count if dash else int(first)
    if not 1 <= start <= stop <= count:
        some = f"{count} page{'s' * (count != 1)}"
        raise Fail(f"{file.name!r} has {some}, and {part} is not among them", code="no_such_page")
    return range(start, stop + 1)


def _check_head(file: InputFile) -> None:
    with file.path.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    if not head:
        raise Fail(f"{file.name!r} is empty; send a whole PDF", code="empty_file")
    if not re.search(rb"%PDF-\d", head):
        raise Fail(f"{file.name!r} is not a PDF; send a PDF", code="unsupported")


def _unopened(file: InputFile, code: int | None, *, has_password: bool) -> Fail:
    match code:
        case 4 if has_password:  # FPDF_ERR_PASSWORD of fpdfview.h
            return Fail(f"the password of {file.name!r} is another one", code="wrong_password")
        case 4:
            return Fail(f"{file.name!r} is encrypted; give its password in the password param", code="encrypted")
        case 5:  # FPDF_ERR_SECURITY
            return Fail(f"{file.name!r} is encrypted in a way that is not supported", code="unsupported")
        case _:
            return Fail(f"{file.name!r} is damaged or cut short; send a whole PDF", code="damaged_file")
