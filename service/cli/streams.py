"""Standard input, output and error, made fit for use whatever the command was started with."""

import io
import os
import sys


def prepare_streams() -> None:
    """Put nothing in the place of the streams that are closed, and let output be written in any encoding.

    A closed one would be given to the next file that is opened, and what is printed would land in that file. Reading
    from a closed input is still an error.
    """
    for number, mode in enumerate("rww"):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_WRONLY)  # it has the lowest free number, which is this one
            os.set_inheritable(opened, True)  # noqa: FBT003 - theirs
            stream = os.fdopen(opened, mode, encoding="utf-8", closefd=False)
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
