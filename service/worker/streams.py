"""Standard output and standard error of a child process, the same for each attempt: a processor may close them."""

import contextlib
import os
import sys
from typing import TextIO

_NAMES = {1: "stdout", 2: "stderr"}


class Streams:
    """Keeps what the descriptors 1 and 2 were at first."""

    def __init__(self) -> None:
        self._kept = {number: os.dup(number) for number in _NAMES}
        self._streams: dict[int, TextIO] = {}
        self.restore()

    def restore(self) -> None:
        """Flush both, and put back whatever was closed or replaced."""
        for number, name in _NAMES.items():
            stream = getattr(sys, name)
            with contextlib.suppress(BaseException):  # what a processor has put in its place may raise anything
                stream.flush()
            os.dup2(self._kept[number], number)
            if (own := self._streams.get(number)) is None or own.closed:
                own = self._streams[number] = _open(number)
            setattr(sys, name, own)


def _open(number: int) -> TextIO:
    return open(number, "w", buffering=1, errors="backslashreplace", closefd=False)
