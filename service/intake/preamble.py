"""What may stand before the first boundary of a form, and after that boundary on its line (RFC 2046, section 5.1.1)."""

from service.errors import MalformedMultipartError

_MAX_BYTES = 64 * 1024


class Preamble:
    """Passes over a preamble, which the parser does not, in constant memory; where there is none, nothing is copied.

    `is_over` when the boundary has come.
    """

    def __init__(self, boundary: bytes) -> None:
        self._mark = b"--" + boundary
        self._held = b"\n"  # a boundary begins a line, and so does the body
        self._taken = 0
        self.is_over = False

    def feed(self, piece: bytes) -> bytes:
        """Return the body from its first boundary on, without the blanks after it; nothing while that is to come.

        Raises:
            MalformedMultipartError: it does not come soon.
        """
        size = len(self._mark)
        if not self._taken and piece.startswith(self._mark) and piece[size : size + 1].strip(b" \t"):
            self.is_over = True
            return piece
        self._taken += len(piece)
        self._held += piece
        found = self._held.find(b"\n" + self._mark)
        after = self._held[found + 1 + size :].lstrip(b" \t") if found >= 0 else b""
        if after:
            self.is_over = True
            return self._mark + after
        self._held = self._held[found if found >= 0 else -size :]
        if self._taken > _MAX_BYTES:
            raise MalformedMultipartError(f"at byte 0, in part 1: no {self.wanted()} in the first {_MAX_BYTES} bytes")
        return b""

    def wanted(self) -> str:
        """Return what is waited for, for people."""
        return f"line that begins with the boundary {self._mark.decode('latin-1')!r}"
