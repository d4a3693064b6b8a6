"""Excel files (.xlsx): looked through before they are read, and written row by row."""

import datetime as dt
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from service.naming import DistinctNames
from service.processors.base import Fail, InputFile

MAX_XML_BYTES = 1024**3
MAX_ENTRIES = 10_000
MAX_CELLS = 20_000_000
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
_PIECE_BYTES = 256 * 1024
_CELL = re.compile(r"([A-Za-z]{1,3})(\d{1,7})")


# ---- reading


def write_json_lines(file: InputFile, target: Path, *, sheet: str | None, header: bool) -> str:
    """Write the rows of a sheet as JSON lines, and return the sheet's name.

    Texts stay texts, even those that look like numbers; dates become ISO dates.

    Raises:
        Fail: it is not a readable workbook, has no such sheet, or is hostile.
    """
    _look_through(file)
    from python_calamine import CalamineError, CalamineWorkbook  # noqa: PLC0415 - only needed here

    try:
        book = CalamineWorkbook.from_path(str(_under_true_suffix(file, target.with_suffix(".xlsx"))))
        name = _sheet_name(file, book.sheet_names, sheet)
        rows = book.get_sheet_by_name(name).iter_rows()
    except (CalamineError, OSError, ValueError) as error:
        raise _invalid(file, str(error)) from None
    if _write(rows, target, header=header) == 0:
        raise Fail(f"the sheet {name!r} of {file.name!r} has no rows; name another sheet", code="empty_file")
    return name


def _under_true_suffix(file: InputFile, link: Path) -> Path:
    """Return a path with the suffix of what the file is: the reader would go by what its name says it is."""
    link.unlink(missing_ok=True)
    link.symlink_to(file.path.resolve())
    return link


def _sheet_name(file: InputFile, names: list[str], wanted: str | None) -> str:
    if not names or (wanted is not None and wanted not in names):
        there = ", ".join(map(repr, names[:20]))
        raise Fail(f"{file.name!r} has no sheet {wanted!r}; there are {there}", code="unknown_sheet")
    return wanted if wanted is not None else names[0]


def _write(rows: Iterable[list[Any]], target: Path, *, header: bool) -> int:
    count = 0
    names: list[str] = []
    with target.open("w", encoding="utf-8") as lines:
        for row in rows:
            if not names:
                names = _names(row if header else [""] * len(row))
                if header:
                    continue
            count += 1
            values = {name: _plain(value) for name, value in zip(names, row, strict=False)}
            lines.write(json.dumps(values, ensure_ascii=False) + "\n")
    return count


def _names(row: list[Any]) -> list[str]:
    """Return a name for each column, no two of them alike."""
    names = DistinctNames("_", first=1)
    return [names.take(str(value).strip() or f"column{number}") for number, value in enumerate(row)]


def _plain(value: Any) -> Any:
    match value:
        case "":
            return None
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dt.datetime() if value.time() == dt.time():
            return value.date().isoformat()
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return str(value)
        case _:
            return value


# ---- before reading


def _look_through(file: InputFile) -> None:
    """Refuse a workbook that would grow beyond all bounds, or whose XML declares a document type.

    A cell far out makes the reader lay out all that lies between; so the places of all cells are looked at.
    """
    left = MAX_XML_BYTES
    try:
        with zipfile.ZipFile(file.path) as package:
            names = package.namelist()
            if "xl/workbook.xml" not in {name.lower() for name in names}:
                message = f"{file.name!r} is a zip file, and not an Excel workbook (.xlsx)"
                raise Fail(message, code="not_a_table")
            if len(names) > MAX_ENTRIES:
                raise Fail(f"{file.name!r} has {len(names):,} parts; no workbook has so many", code="too_large")
            for name in names:
                if name.lower().endswith((".xml", ".rels")):
                    with package.open(name) as part:
                        left -= _Look(file, left).through(part)
    except (zipfile.BadZipFile, expat.ExpatError, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise _invalid(file, str(error)) from None
    except RuntimeError:
        raise _invalid(file, "it is encrypted; save it without a password") from None


class _Look:
    """One look through a part of the workbook: at its size, its declarations and the places of its cells."""

    def __init__(self, file: InputFile, left_bytes: int) -> None:
        self._file = file
        self._left = left_bytes
        self._rows = self._columns = self._row_cells = 1
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._element
        self._parser.StartDoctypeDeclHandler = self._doctype

    def through(self, part: Any) -> int:
        """Return the size of the part, in bytes."""
        size = 0
        while piece := part.read(_PIECE_BYTES):
            size += len(piece)
            if size > self._left:
                limit = f"{MAX_XML_BYTES:,} bytes"
                raise Fail(f"{self._file.name!r} unpacks to more than {limit}; split it", code="too_large")
            self._parser.Parse(piece, False)  # noqa: FBT003 - takes no keyword
        self._parser.Parse(b"", True)  # noqa: FBT003
        return size

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "row":
                self._row_cells = 0
                self._rows = max(self._rows + 1, _number(attributes.get("r", "")))
            case "c":
                self._row_cells += 1
                place = _CELL.fullmatch(attributes.get("r", ""))
                column = _column(place[1]) if place else self._row_cells
                self._rows = max(self._rows, int(place[2]) if place else 0)
                self._columns = max(self._columns, column, self._row_cells)
            case _:
                return
        if self._rows * self._columns > MAX_CELLS:
            area = f"{self._rows:,} rows by {self._columns:,} columns"
            message = f"{self._file.name!r} has cells on {area}; at most {MAX_CELLS:,} cells are read"
            raise Fail(message, code="too_many_cells")

    def _doctype(self, *_declaration: Any) -> None:
        message = f"{self._file.name!r} declares a document type or entities in its XML; no workbook needs them"
        raise Fail(message, code="forbidden_xml")


def _number(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else 0  # noqa: PLR2004


def _column(letters: str) -> int:
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return column


def _invalid(file: InputFile, why: str) -> Fail:
    return Fail(f"{file.name!r} cannot be read as xlsx: {why[:200]}", code="invalid_xlsx")


# ---- writing


def write_workbook(target: Path, names: list[str], batches: Iterator[list[tuple[Any, ...]]]) -> int:
    """Write a workbook of one sheet, row by row, and return how many rows it has below the names.

    Texts stay texts: one that begins with = is no formula, and no text becomes a link.

    Raises:
        Fail: there are more rows or columns than a sheet holds.
    """
    import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - only needed here

    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "nan_inf_to_errors": True,
        "remove_timezone": True,
        "tmpdir": str(target.parent),
        "default_date_format": "yyyy-mm-dd hh:mm:ss",
    }
    if len(names) > MAX_COLUMNS:
        raise Fail(f"a sheet holds {MAX_COLUMNS:,} columns, not {len(names):,}; write parquet", code="too_many_columns")
    with xlsxwriter.Workbook(str(target), options) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, names)
        number = 0
        for batch in batches:
            for row in batch:
                number += 1
                if number >= MAX_ROWS:
                    message = f"a sheet holds {MAX_ROWS - 1:,} rows, and there are more; write csv or parquet"
                    raise Fail(message, code="too_many_rows")
                sheet.write_row(number, 0, [_cell(value) for value in row])
    return number


def _cell(value: Any) -> Any:
    """Return a value that a cell can hold; of numbers, Excel keeps 15 digits, so longer ones go as text."""
    match value:
        case None | bool() | str() | float():
            return value
        case int() if abs(value) >= 10**15:
            return str(value)
        case int() | dt.datetime() | dt.date() | dt.time() | dt.timedelta():
            return value
        case bytes():
            return value.hex()
        case list() | tuple() | dict():
            return json.dumps(value, default=str, ensure_ascii=False)
        case _:
            return float(value) if hasattr(value, "__float__") else str(value)
