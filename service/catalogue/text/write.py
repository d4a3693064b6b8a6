"""text.write: a text file from a content or from a template and its data."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, JsonValue

from service.catalogue.text.template import compiled
from service.naming import FileName
from service.processors.base import Fail, InputFile, JobContext, processor

PIECE_BYTES = 1024**2
MAX_BYTES = 10 * 1024**3
MAX_LINE_BYTES = 16 * PIECE_BYTES
MEMORY_LIMIT_BYTES = 1024**3


@processor(
    "text.write",
    accepts=["application/x-ndjson", "application/json", "text/*"],
    min_files=0,
    max_files=1,
    requires=["jinja2"],
    memory_limit_bytes=MEMORY_LIMIT_BYTES,
    reads_only=True,
)
def write(
    job: JobContext,
    *,
    name: FileName,
    content: str | None = None,
    template: Annotated[str | None, Field(max_length=1_000_000)] = None,
    data: dict[str, JsonValue] | None = None,
    html: bool = False,
    repeat: Annotated[int, Field(ge=1, le=1_000_000)] = 1,
) -> dict[str, int]:
    """Write a text file, from a content or from a template.

    It is written in pieces, as often as asked, so the size of the file does not show in memory. An input file of
    JSON lines is what the template can loop over as `rows`, once, one line at a time.

    Args:
        name: name of the file, without folders.
        content: what to write as it is, as UTF-8.
        template: a Jinja2 template to write instead, filled in with data.
        data: values for the template, by the names that it uses.
        html: escape the values of the template for HTML.
        repeat: how many times to write it.
    """
    _check(content, template, data, job)
    if template is None:
        return _write(job, name, _copies((content or "").encode(), repeat), _total(content or "", repeat))
    text = compiled(template, html=html)
    rendered = (piece.encode() for _ in range(repeat) for piece in text.pieces({**(data or {}), **_rows(job)}))
    return _write(job, name, _gathered(rendered), None)


def _check(content: str | None, template: str | None, data: Any, job: JobContext) -> None:
    if (content is None) == (template is None):
        raise Fail("give either a content or a template", code="content_or_template")
    if template is None and (data is not None or job.files):
        raise Fail("data and an input file are for a template; give one", code="content_or_template")


def _total(content: str, repeat: int) -> int:
    size_bytes = len(content.encode()) * repeat
    if size_bytes > MAX_BYTES:
        raise _too_large(f"the file would have {size_bytes:,} bytes")
    return size_bytes


def _too_large(sentence: str) -> Fail:
    return Fail(f"{sentence}, and at most {MAX_BYTES:,} are written", code="too_large")


def _write(job: JobContext, name: str, pieces: Iterator[bytes], total_bytes: int | None) -> dict[str, int]:
    """Write the pieces to the output, and count its bytes and lines; None is a total not known."""
    size_bytes = lines = 0
    last = b"\n"
    with job.output(name).open("wb") as file:
        for piece in pieces:
            size_bytes += file.write(piece)
            if size_bytes > MAX_BYTES:
                raise _too_large("the file has become larger")
            lines += piece.count(b"\n")
            last = piece[-1:]
            job.progress(size_bytes / total_bytes if total_bytes else 0, "" if total_bytes else f"{size_bytes:,} bytes")
    return {"size_bytes": size_bytes, "lines": lines + (last != b"\n")}


def _copies(unit: bytes, repeat: int) -> Iterator[bytes]:
    """Yield `unit` so many times, in pieces of about `PIECE_BYTES`."""
    if not unit:
        return
    at_once = min(repeat, max(1, PIECE_BYTES // len(unit)))
    full, rest = divmod(repeat, at_once)
    piece = unit * at_once
    for _ in range(full):
        yield piece
    if rest:
        yield unit * rest


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of about `PIECE_BYTES`: a template renders a few at a time."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _rows(job: JobContext) -> dict[str, Iterator[Any]]:
    return {"rows": _lines(job.file)} if job.files else {}


def _lines(file: InputFile) -> Iterator[Any]:
    """Yield the values of a file of JSON lines, one at a time."""
    with file.path.open("rb") as source:
        number = 0
        while line := source.readline(MAX_LINE_BYTES):
            number += 1
            if line.isspace():
                continue
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                message = f"line {number} of {file.name!r} is not JSON; send one JSON value a line"
                raise Fail(message, code="invalid_json_lines") from None
