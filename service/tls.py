"""TLS towards other servers."""

import asyncio
import functools
import ssl
from pathlib import Path


async def open_tls(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return what to check certificates with: those of the system, or of a file.

    To read them takes some 20 ms, so it is done once for each process, and off the loop.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    return await asyncio.to_thread(_context, ca_file)


@functools.cache
def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
