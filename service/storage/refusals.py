"""What a disk refuses, in our own words, and the thread in which it is asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from typing import TypeVar

import aiofiles.os

from service.errors import StorageFailedError, StorageFullError

_T = TypeVar("_T")


async def off_loop(function: Callable[..., _T], *args: object) -> _T:
    """Call the function in a thread.

    Raises:
        StorageFullError, StorageFailedError: for what the operating system refused.
    """
    with refusals():
        return await aiofiles.os.wrap(function)(*args)


@contextmanager
def refusals() -> Iterator[None]:
    """Tell the operating system's refusals in our own words."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise StorageFullError(f"the disk is full: {error.strerror}") from error
        raise StorageFailedError(f"the disk refused: {error.strerror or error}") from error
