"""multipart/form-data (RFC 7578), parsed as it arrives: bytes in, events out, nothing buffered.

python-multipart finds the boundaries; this module gives its callbacks a meaning, and counts.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import (
    FilemillError,
    MalformedMultipartError,
    PartHeadersTooLargeError,
    UnsupportedContentTypeError,
    UnsupportedEncodingError,
)
from service.intake.charsets import charset_of
from service.intake.disposition import parse_disposition
from service.intake.preamble import Preamble
from service.intake.transfer_encoding import Decoder, decoder_of
from service.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_HEADERS = 100
_MAX_FOLDS = 500
_DISPOSITION, _TYPE, _TRANSFER, _CONTENT = _HEEDED = (
    b"content-disposition", b"content-type", b"content-transfer-encoding", b"content-encoding",
)  # fmt: skip
_LF_ALONE = "a line ends with LF alone, and each line of a form ends with CR LF; let your HTTP library write the form"
_PLACE = re.compile(r" at (?:index )?\d+$| \(\d+\)$")


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins. `filename` is None for a field, and any text at all for a file; `charset` is that of a field."""

    name: str
    filename: str | None
    charset: str | None = None


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the part; the view is good for as long as it is held."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


Event = PartBegin | PartData | PartEnd


class MultipartReader:
    """Turns the pieces of a body into events."""

    def __init__(self, content_type: str, settings: Settings) -> None:
        self._max_header_bytes = settings.max_part_header_bytes
        self._boundary = _boundary(content_type)
        self._preamble = Preamble(self._boundary)
        self._events: list[Event] = []
        self._header = _Header()
        self._decoder: Decoder | None = None
        self._position = 0
        self._parts = 0
        self._complete = False
        self._folds = False
        self._folded_lines = 0
        self._last = b""
        self._callbacks: MultipartCallbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = self._new_parser(self._callbacks)

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events of the next piece of the body.

        Raises:
            MalformedMultipartError: this is not multipart; the error says where.
            PartHeadersTooLargeError: the headers of a part pass the limit.
            UnsupportedEncodingError: a part is encoded in a way that is not decoded.
            UnsupportedContentTypeError: a part holds parts of its own.
        """
        if not self._preamble.is_over:
            self._position += len(piece)
            piece = self._preamble.feed(piece)
            self._position -= len(piece)
        self._write(piece)
        events, self._events = self._events, []
        yield from events

    def close(self) -> None:
        """Raise `MalformedMultipartError` unless the body came to its closing boundary."""
        if not self._preamble.is_over:
            raise MalformedMultipartError(
                f"at byte 0, in part 1: the body ends after {self._position} bytes without a {self._preamble.wanted()}"
            )
        if not self._complete:
            raise MalformedMultipartError(
                f"the body ends after {self._position} bytes, in part {self._parts}, without its closing boundary"
            )

    def _write(self, piece: bytes) -> None:
        """Parse a piece: whole, but line by line within headers of which one is folded."""
        begin = 0
        while begin < len(piece):
            end = (self._folds and piece.find(b"\n", begin) + 1) or len(piece)
            try:
                self._parser.write(piece if end - begin == len(piece) else piece[begin:end])
            except FormParserError as error:
                end = begin + max(getattr(error, "offset", 0), 0)
                if not self._is_fold(piece[end : end + 1], piece[end - 1 : end] if end else self._last):
                    raise self._refusal(error, piece[end : end + 1]) from None
                self._go_on_with_header()
            self._position += end - begin
            begin = end
        self._last = piece[-1:] or self._last

    def _is_fold(self, found: bytes, before: bytes) -> bool:
        """Whether a line goes on with the header above it (obsolete in RFC 5322, section 4.2; MIME libraries do it)."""
        return self._header.is_line_over and found in (b" ", b"\t") and before == b"\n"

    def _go_on_with_header(self) -> None:
        """Begin anew within the value of the header that seemed to be over: the parser knows nothing of such lines."""
        self._count_fold()
        self._folds = True
        self._header.reopen()
        self._parser = self._new_parser({})
        self._parser.write(b"--" + self._boundary + b"\r\nfolded:")
        self._parser.callbacks = self._callbacks

    def _count_fold(self) -> None:
        """Refuse too many of such lines: each takes a parser of its own, on the event loop."""
        self._folded_lines += 1
        if self._folded_lines > _MAX_FOLDS:
            raise PartHeadersTooLargeError(
                f"by part {self._parts} headers are folded {_MAX_FOLDS} times; write each of them on one line"
            )

    def _new_parser(self, callbacks: "MultipartCallbacks") -> MultipartParser:
        return MultipartParser(
            self._boundary,
            callbacks=callbacks,
            # for one line and for their number; what all lines have together is counted here
            max_header_count=_MAX_HEADERS,
            max_header_size=self._max_header_bytes,
        )

    def _refusal(self, error: FormParserError, found: bytes) -> FilemillError:
        """Say what the parser found, and where in the body; it counts from the begin of the piece."""
        what = _LF_ALONE if found == b"\n" else _PLACE.sub("", str(error))
        if what.startswith("Maximum header"):
            return self._headers_too_large()
        offset = self._position + max(getattr(error, "offset", 0), 0)
        return MalformedMultipartError(f"at byte {offset}, in part {max(self._parts, 1)}: {what}")

    def _headers_too_large(self) -> PartHeadersTooLargeError:
        return PartHeadersTooLargeError(
            f"the headers of part {self._parts} pass {self._max_header_bytes} bytes or {_MAX_HEADERS} lines"
        )

    # ---- what the parser calls

    def _on_part_begin(self) -> None:
        self._parts += 1
        self._header = _Header()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header.is_line_over = False
        self._header.name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header.value += data[start:end]

    def _on_header_end(self) -> None:
        self._count(len(b": \r\n"))
        header = self._header
        header.lines += 1
        if header.lines > _MAX_HEADERS:  # the parser counts from the last folded line on
            raise self._headers_too_large()
        name = bytes(header.name).lower()
        if name in header.found:
            raise MalformedMultipartError(f"part {self._parts} has the header {name.decode()} twice")
        if name in _HEEDED:
            header.found[name] = bytes(header.value)
        header.end_line()

    def _on_headers_finished(self) -> None:
        header = self._header
        header.is_line_over = self._folds = False
        found = parse_disposition(header.found.get(_DISPOSITION, b""))
        if found.name is None:
            raise MalformedMultipartError(
                f'part {self._parts} has no name; each part needs `Content-Disposition: form-data; name="..."`'
            )
        self._decoder = self._decoder_of(header)
        content_type = header.text(_TYPE)
        if content_type.lower().startswith("multipart/") and "boundary" in content_type.lower():
            raise UnsupportedContentTypeError(
                f"part {self._parts} is {content_type.partition(';')[0][:100]}; send each file in a part of its own"
            )
        charset = charset_of(content_type) if content_type and found.filename is None else None
        self._events.append(PartBegin(found.name, found.filename, charset))

    def _decoder_of(self, header: "_Header") -> Decoder | None:
        """Return what decodes the content of a part, None where it comes as it is."""
        encoding = header.text(_CONTENT)
        if encoding.lower() in {"", "identity"}:
            encoding = header.text(_TRANSFER)
            with suppress(LookupError):
                return decoder_of(encoding)
        raise UnsupportedEncodingError(
            f"part {self._parts} is encoded as {encoding[:100]!r}; send its bytes as they are, or as base64 or "
            "quoted-printable with Content-Transfer-Encoding"
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._decoder is None:
            self._events.append(PartData(memoryview(data)[start:end]))
        else:
            self._decode(self._decoder.feed, data[start:end])

    def _on_part_end(self) -> None:
        if self._decoder is not None:
            self._decode(self._decoder.close)
        self._events.append(PartEnd())

    def _decode(self, step: Callable[..., bytes], *data: bytes) -> None:
        try:
            decoded = step(*data)
        except ValueError as error:
            raise MalformedMultipartError(f"in part {self._parts}: {error}") from None
        if decoded:
            self._events.append(PartData(memoryview(decoded)))

    def _on_end(self) -> None:
        self._complete = True

    def _count(self, size: int) -> None:
        self._header.size_bytes += size
        if self._header.size_bytes > self._max_header_bytes:
            raise self._headers_too_large()


class _Header:
    """The headers of the part that is being read."""

    def __init__(self) -> None:
        self.name = bytearray()
        self.value = bytearray()
        self.found: dict[bytes, bytes] = {}
        self.size_bytes = 0
        self.lines = 0
        self.is_line_over = False
        self._last_name = b""

    def end_line(self) -> None:
        """Make ready for the next line."""
        self._last_name = bytes(self.name)
        self.is_line_over = True
        self.name.clear()
        self.value.clear()

    def reopen(self) -> None:
        """Go on with the last line, of which the next one is a part: a blank stands for the line end."""
        self.name += self._last_name
        self.value += self.found.pop(self._last_name.lower(), b"") + b" "
        self.is_line_over = False

    def text(self, name: bytes) -> str:
        """Return the value of a header that is heeded, without the blanks around it."""
        return self.found.get(name, b"").strip().decode("latin-1")


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # noqa: PLR2004 - RFC 2046, section 5.1.1
        raise MalformedMultipartError(
            "the Content-Type names no boundary of 1 to 70 characters; let your HTTP library set this header"
        )
    return boundary
