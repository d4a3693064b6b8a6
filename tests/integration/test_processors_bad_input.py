"""Every processor of the catalogue, on what is not what it takes: a sentence with a stable code, and nothing else.

What is done to whole files is tested elsewhere, family by family; so are the known attacks on each of them.
"""

import io
import random
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import Any

import av
import pypdfium2  # type: ignore[import-untyped]
import pytest
import xlsxwriter  # type: ignore[import-untyped]

from service.errors import InvalidRequestError
from service.processors.base import Fail, Processor
from service.processors.registry import CATALOGUE, load_registry
from service.testing import Run, arun_processor
from tests.integration.catalogue import SAMPLES

PARAMS: dict[str, dict[str, Any]] = {
    "http.request": {"url": "http://127.0.0.1:9/"},
    "mail.send": {"to": ["ann@example.org"], "subject": "a", "text": "b", "dry_run": True},
    "table.convert": {"to": "csv"},
    "table.query": {"sql": "FROM data"},
    "text.write": {"name": "a.txt", "template": "{% for row in rows %}{{ row }}{% endfor %}"},
}
TAKE_ANY_BYTES = {"file.checksum", "file.identify", "archive.create", "mail.send"}
TAKE_ANY_TEXT = {"text.stats", "text.write"}  # a text that was cut off is a text, and so is an empty one
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
UNSTABLE = {"failed", "crashed"}

ALL = {name: one for name, one in load_registry().items() if one.function.__module__ in CATALOGUE}


@dataclass(frozen=True)
class Kind:
    """A file as a family takes it, and one that is more than it takes."""

    name: str
    content: bytes
    huge: bytes | None = None
    params: dict[str, Any] = field(default_factory=dict)


async def _outcome(processor: Processor, name: str, content: bytes, params: dict[str, Any] | None = None) -> Run | str:
    """Return the run, or the code that it was refused with."""
    wanted = {**PARAMS.get(processor.name, {}), **(params or {})}
    processor.check_params(wanted)  # what follows is about the file
    try:
        return await arun_processor(processor, {name: content}, wanted)
    except (Fail, InvalidRequestError) as error:
        code, sentence = error.code, str(error)
    assert len(sentence) > 20
    assert CODE.fullmatch(code)
    assert code not in UNSTABLE
    return code


# ---- files


def _picture() -> Kind:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    return Kind("a.jpg", (SAMPLES / "rocket.jpg").read_bytes(), huge)


def _document() -> Kind:
    document = pypdfium2.PdfDocument.new()
    for _ in range(5001):
        document.new_page(10, 10).close()
    target = io.BytesIO()
    document.save(target)
    document.close()
    return Kind("a.pdf", (SAMPLES / "text.pdf").read_bytes(), target.getvalue())


def _film() -> Kind:
    noise, target = random.Random(1), io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(50):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(noise.randbytes(plane.buffer_size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Kind("a.mp4", target.getvalue())


def _workbook() -> Kind:
    target = io.BytesIO()
    with xlsxwriter.Workbook(target) as book:
        sheet = book.add_worksheet()
        for number in range(100):
            sheet.write_row(number, 0, [f"a{number}", number])
    return Kind("a.xlsx", target.getvalue(), ",".join(f"c{number}" for number in range(2001)).encode() + b"\n")


def _archive() -> Kind:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.txt", "a" * 1000)
        archive.writestr("b.txt", "b" * 1000)
    return Kind("a.zip", target.getvalue(), target.getvalue(), {"max_entries": 1})


def _lines() -> Kind:
    return Kind("a.jsonl", b'{"a": 1}\n{"a": "' + b"x" * 100 + b'"}\n')


KINDS = {"image": _picture, "pdf": _document, "media": _film, "table": _workbook, "archive": _archive, "text": _lines,
         "file": _lines, "http": _lines, "mail": _lines}  # fmt: skip
_made: dict[str, Kind] = {}


def kind_for(processor: Processor) -> Kind:
    family = processor.name.partition(".")[0]
    return _made.setdefault(family, _made.get(family) or KINDS[family]())


# ---- the matrix


@pytest.mark.parametrize("processor", ALL.values(), ids=ALL)
async def test_an_empty_file_is_refused_by_all_that_must_read_it(processor):
    outcome = await _outcome(processor, kind_for(processor).name, b"")
    assert isinstance(outcome, Run) == (processor.name in TAKE_ANY_BYTES | TAKE_ANY_TEXT), outcome


@pytest.mark.parametrize("processor", ALL.values(), ids=ALL)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
async def test_a_file_that_was_cut_off_is_refused_by_all_that_need_the_whole(processor, share):
    kind = kind_for(processor)
    outcome = await _outcome(processor, kind.name, kind.content[: int(len(kind.content) * share)])
    if processor.name in TAKE_ANY_BYTES | {"text.stats"}:
        assert isinstance(outcome, Run), outcome
    else:
        assert isinstance(outcome, str)


OTHERS = {
    "a program": b"\x7fELF\x02\x01\x01" + bytes(500),
    "a text": b"only words, and not many of them",
    "zeros": bytes(2000),
}


@pytest.mark.parametrize("processor", ALL.values(), ids=ALL)
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_a_file_of_another_type_under_its_name_is_refused(processor, other):
    outcome = await _outcome(processor, kind_for(processor).name, other)
    is_text = other.isascii() and b"\0" not in other
    if processor.name in TAKE_ANY_BYTES or (is_text and processor.name == "text.stats"):
        assert isinstance(outcome, Run), outcome
    elif not (is_text and processor.name.startswith("table.")):  # a line of words is a table too
        assert isinstance(outcome, str)


HAVE_A_LIMIT = {
    "image.convert": "too_large", "image.info": "too_large", "image.optimize": "too_large",
    "image.thumbnail": "too_large", "pdf.merge": "too_large", "pdf.render": "too_large", "pdf.split": "too_large",
    "pdf.text": "too_large", "table.convert": "too_many_columns", "table.profile": "too_many_columns",
    "table.query": "too_many_columns", "archive.list": "too_many_entries", "archive.extract": "too_many_entries",
}  # fmt: skip
# Those of mail and media have tests of their own: their files would be large, or made by hand.
HAVE_NONE_HERE = {"archive.create", "file.checksum", "file.identify", "http.request", "mail.send", "media.frames",
                  "media.info", "media.transcode", "pdf.info", "text.stats", "text.write"}  # fmt: skip


@pytest.mark.parametrize("name", HAVE_A_LIMIT)
async def test_a_file_beyond_the_limit_is_refused(name):
    kind = kind_for(ALL[name])
    assert kind.huge is not None
    assert await _outcome(ALL[name], kind.name, kind.huge, kind.params) == HAVE_A_LIMIT[name]


def test_of_each_processor_it_is_said_whether_it_has_a_limit():
    assert {*HAVE_A_LIMIT, *HAVE_NONE_HERE} == {*ALL}
