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
            with contextlib.suppress(Exception):
                stream.flush()
            os.dup2(self._kept[number], number)
            if stream is None or stream.closed or stream is not self._streams.get(number):
                self._streams[number] = _open(number)
                setattr(sys, name, self._streams[number])


def _open(number: int) -> TextIO:
    return open(number, "w", buffering=1, errors="backslashreplace", closefd=False)
