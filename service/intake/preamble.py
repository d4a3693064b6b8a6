"""What may stand before the first boundary of a form, and after that boundary on its line (RFC 2046, section 5.1.1)."""

import re

from service.errors import MalformedMultipartError

_MAX_BYTES = 64 * 1024
_MAX_BLANKS = 1024


class Preamble:
    """Passes over a preamble, which the parser does not, in constant memory; where there is none, nothing is copied.

    `is_over` when the boundary has come.
    """

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"--" + boundary
        # what ends the line may be yet to come; a line feed alone is for the parser to refuse
        blanks = rb"[ \t]{0,%d}" % _MAX_BLANKS
        too_many = rb"[ \t]{%d}" % (_MAX_BLANKS + 1)
        ends = rb"(?:(?P<end>--|%b\r?\n)|(?:-|%b\r?)\Z|(?P<too_many>%b))" % (blanks, blanks, too_many)
        self._line = re.compile(rb"\n" + re.escape(self._mark) + ends)
        self._held = b"\n"  # a boundary begins a line, and so does the body
        self._taken = 0
        self.is_over = False

    def feed(self, piece: bytes) -> bytes:
        """Return the body from its first boundary on, without the blanks after it; nothing while that is to come.

        Raises:
            MalformedMultipartError: it does not come soon, or its line does not end soon.
        """
        size = len(self._mark)
        if not self._taken and piece.startswith(self._mark) and piece[size : size + 2] in {b"\r\n", b"--"}:
            self.is_over = True
            return piece
        self._taken += len(piece)
        self._held += piece
        found = self._line.search(self._held)
        self.is_over = bool(found and found["end"])
        # the line end before the boundary, and what follows
        self._held = self._held[found.start() :] if found else self._held[-size:]
        begin = self._taken - len(self._held) + 1
        if begin > _MAX_BYTES:
            raise MalformedMultipartError(f"at byte 0, in part 1: no {self.wanted()} in the first {_MAX_BYTES} bytes")
        if found and found["too_many"]:
            raise MalformedMultipartError(
                f"at byte {begin}, in part 1: more than {_MAX_BLANKS} blanks behind the boundary {self._words()}"
            )
        return self._mark + self._held[1 + size :].lstrip(b" \t") if self.is_over else b""

    def wanted(self) -> str:
        """Return what is waited for, for people."""
        return f"line that begins with the boundary {self._words()}"

    def _words(self) -> str:
        return repr(self._mark.decode("latin-1"))
