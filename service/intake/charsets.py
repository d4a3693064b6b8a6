"""Text that is not UTF-8: which charsets are read, and which one a header names."""

import codecs
import re

from python_multipart.multipart import parse_options_header

CHARSETS = re.compile(
    r"utf-?8|(us-)?ascii|utf-16(le|be)?|iso-8859-\d+|latin-?1|windows-\d+|koi8-[ru]|gb2312|gbk|gb18030|big5|euc-(jp|kr)"
    r"|shift_jis|iso-2022-(jp|kr)",
    re.IGNORECASE | re.ASCII,
)
"""Not all that Python knows: some of its codecs are no charsets, and some take very long."""


def charset_of(content_type: str) -> str | None:
    """Return the charset that a Content-Type names, None where it names none."""
    found = parse_options_header(content_type)[1].get(b"charset")
    return found.decode("latin-1").strip() or None if found else None


def decode(raw: bytes | bytearray, charset: str) -> str:
    """Return the text.

    Raises:
        LookupError: this charset is not read.
        UnicodeDecodeError: the bytes are none in it.
    """
    if not CHARSETS.fullmatch(charset):
        raise LookupError(charset)
    codec = codecs.lookup(charset).name
    return raw.decode("utf-8" if codec == "ascii" else codec)
