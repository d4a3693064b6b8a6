"""text.stats: what there is to count in a text."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from service.catalogue.text.encoding import Encoding, characters, find_encoding, named_encoding
from service.processors.base import InputFile, JobContext, processor

_WORD = re.compile(r"\S+")
_END = re.compile(r"\r\n|\n|\r")


@processor("text.stats", accepts=["text/*", "application/*", "message/*", "image/svg+xml"], reads_only=True)
def stats(
    job: JobContext,
    *,
    encoding: Annotated[str | None, Field(max_length=40)] = None,
) -> dict[str, Any]:
    """Count the lines, words and characters of text files, and tell their encoding and line ends.

    Files of any size are read in pieces. `line_ends` is lf, crlf, cr, mixed or none. An encoding without a mark
    of its own can only be guessed: then `encoding_is_certain` is false.

    Args:
        encoding: encoding of the files, such as latin-1; without it, detected.
    """
    known = None if encoding is None else named_encoding(encoding)
    return {"files": [_stats(job, number, known) for number in range(len(job.files))]}


def _stats(job: JobContext, number: int, known: Encoding | None) -> dict[str, Any]:
    file = job.files[number]
    encoding = known or find_encoding(file)
    count = _Count()
    for piece in characters(file.path, encoding):
        count.add(piece)
        job.progress((number + count.share(file)) / len(job.files), file.name)
    count.finish()
    return {
        "name": file.name,
        "size_bytes": file.size_bytes,
        "encoding": encoding.name,
        "encoding_is_certain": encoding.is_certain,
        "has_byte_order_mark": encoding.bom_bytes > 0,
        **count.facts(),
    }


@dataclass(slots=True)
class _Count:
    """Counts that go on from piece to piece."""

    chars: int = 0
    words: int = 0
    blank_lines: int = 0
    longest_line_chars: int = 0
    undecodable_chars: int = 0
    lf: int = 0
    crlf: int = 0
    cr: int = 0
    _line_chars: int = 0
    _line_is_blank: bool = True
    _in_word: bool = False
    _held: str = ""

    def share(self, file: InputFile) -> float:
        """Return about how much of the file is counted."""
        return min(1.0, self.chars / (file.size_bytes or 1))

    def add(self, piece: str) -> None:
        """Count a piece; a carriage return at its end waits for what follows."""
        text = self._held + piece
        self._held = "\r" if text.endswith("\r") else ""
        self._count(text.removesuffix("\r") if self._held else text)

    def finish(self) -> None:
        """Count what was held back, and the last line."""
        held, self._held = self._held, ""
        self._count(held)
        if self._line_chars:
            self._end_line()

    def facts(self) -> dict[str, Any]:
        """Return the counts as JSON."""
        kinds = {"lf": self.lf, "crlf": self.crlf, "cr": self.cr}
        used = [kind for kind, count in kinds.items() if count]
        return {
            "lines": sum(kinds.values()) + bool(self._line_chars),
            "blank_lines": self.blank_lines,
            "words": self.words,
            "characters": self.chars,
            "undecodable_characters": self.undecodable_chars,
            "longest_line_characters": self.longest_line_chars,
            "line_ends": "none" if not used else used[0] if len(used) == 1 else "mixed",
            "line_end_counts": kinds,
            "ends_with_line_end": bool(used) and not self._line_chars,
        }

    def _count(self, text: str) -> None:
        if not text:
            return
        self.chars += len(text)
        self.undecodable_chars += text.count("\ufffd")
        self._count_words(text)
        start = 0
        for end in _END.finditer(text):
            self._extend_line(text, start, end.start())
            self._count_end(end.group())
            self._end_line()
            self._line_chars = 0
            self._line_is_blank = True
            start = end.end()
        self._extend_line(text, start, len(text))

    def _count_words(self, text: str) -> None:
        self.words += sum(1 for _ in _WORD.finditer(text)) - (self._in_word and not text[0].isspace())
        self._in_word = not text[-1].isspace()

    def _count_end(self, end: str) -> None:
        match end:
            case "\n":
                self.lf += 1
            case "\r\n":
                self.crlf += 1
            case _:
                self.cr += 1

    def _extend_line(self, text: str, start: int, stop: int) -> None:
        if stop > start:
            self._line_chars += stop - start
            self._line_is_blank = self._line_is_blank and text[start:stop].isspace()

    def _end_line(self) -> None:
        self.blank_lines += self._line_is_blank
        self.longest_line_chars = max(self.longest_line_chars, self._line_chars)
