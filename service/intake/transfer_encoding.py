"""Parts whose content is written as text (RFC 2045, section 6): decoded as it arrives, in constant memory.

Forms have no use for it (RFC 7578, section 4.7), but libraries made for mail send it.
"""

import binascii
import re
from typing import Protocol

_PLAIN = frozenset({"", "7bit", "8bit", "binary", "identity"})
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_BLANKS = b" \t\r\n"
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/= \t\r\n]")
_AFTER_PADDING = re.compile(rb"=[ \t\r\n]*[^= \t\r\n]")
_NO_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*(?:\r?\n|\r?\Z))")
_LAST_BLANKS = re.compile(rb"(?<![ \t])[ \t]+(?=\r?\n|\r?\Z)")
_MAX_LINE_BYTES = 64 * 1024


class Decoder(Protocol):
    """Turns the encoded content of one part into what is meant."""

    def feed(self, data: bytes) -> bytes:
        """Return what the next piece decodes to, as far as it is known; raise `ValueError` for what is not encoded."""
        ...

    def close(self) -> bytes:
        """Return what is left at the end of the part; raise `ValueError` if it ends too early."""
        ...


def decoder_of(encoding: str) -> Decoder | None:
    """Return the decoder of a Content-Transfer-Encoding, None where the content is what it is.

    Raises:
        LookupError: there is none for it.
    """
    name = encoding.partition(";")[0].strip().lower()
    return None if name in _PLAIN else _DECODERS[name]()


class Base64:
    """base64 (RFC 2045, section 6.8); what is not in its alphabet is an error, and not passed over."""

    def __init__(self) -> None:
        self._held = b""
        self._position = 0
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """Decode all whole groups of four characters."""
        if data.translate(None, _ALPHABET + _BLANKS):
            raise self._error(data, _NO_BASE64)
        text = self._held + data.translate(None, _BLANKS)
        if (text and self._ended) or _AFTER_PADDING.search(text):
            raise ValueError(f"the base64 goes on after its padding, within {len(data)} bytes from {self._position}")
        whole = len(text) // 4 * 4
        self._held = text[whole:]
        self._ended = text[:whole].endswith(b"=")
        try:
            decoded = binascii.a2b_base64(text[:whole], strict_mode=True) if whole else b""
        except binascii.Error:
            raise self._error(data, re.compile(b"=")) from None
        self._position += len(data)
        return decoded

    def close(self) -> bytes:
        """Refuse a group that is not whole."""
        if self._held:
            raise ValueError(f"the base64 ends after {self._position} bytes, within a group of four characters")
        return b""

    def _error(self, data: bytes, what: re.Pattern[bytes]) -> ValueError:
        found = what.search(data)
        return ValueError(f"not base64 at byte {self._position + (found.start() if found else 0)} of its content")


class QuotedPrintable:
    """quoted-printable (RFC 2045, section 6.7): all whole lines at once, without a step of Python for each."""

    def __init__(self) -> None:
        self._held = b""
        self._position = 0

    def feed(self, data: bytes) -> bytes:
        """Decode all whole lines."""
        lines, end, self._held = (self._held + data).rpartition(b"\n")
        if len(self._held) > _MAX_LINE_BYTES:
            at = self._position + len(lines + end)
            raise ValueError(f"the line of quoted-printable at byte {at} of its content has no end")
        return self._decode(lines + end)

    def close(self) -> bytes:
        """Decode the last line, which has no end of its own."""
        return self._decode(self._held)

    def _decode(self, lines: bytes) -> bytes:
        """Return what lines mean; blanks at the end of one are none, and with `=` at its end it goes on in the next."""
        if bad := _NO_ESCAPE.search(lines):
            raise ValueError(f"not quoted-printable at byte {self._position + bad.start()} of its content")
        self._position += len(lines)
        return binascii.a2b_qp(_LAST_BLANKS.sub(b"", lines))


_DECODERS: dict[str, type[Base64 | QuotedPrintable]] = {"base64": Base64, "quoted-printable": QuotedPrintable}
