"""What a child process may use, set by itself before each attempt; what it starts inherits it.

Memory is watched by the server, which counts what is really there (`service.worker.guard`). A limit of the address
space would count what is only reserved: libvips, polars, DuckDB and every thread reserve far more than they
use. RLIMIT_DATA counts writable memory, and is set well above the memory limit: so that one absurd allocation
is a `MemoryError`, and a fast one cannot run far ahead of the watch. Processor time is watched too: RLIMIT_CPU
would count for each process alone, and a hard one could never be raised again for the next attempt.
"""

import resource

_GIB = 1024**3


def forbid_core_files() -> None:
    """Leave no core files behind."""
    _set(resource.RLIMIT_CORE, 0)


def limit_memory(limit_bytes: int | None) -> None:
    """Set the ceiling that goes with a memory limit; None takes it away."""
    _set(resource.RLIMIT_DATA, resource.RLIM_INFINITY if limit_bytes is None else 2 * limit_bytes + _GIB)


def limit_file_size(limit_bytes: int) -> None:
    """Let no file become larger than this, also not one in memory; for good, as the server's limit never changes."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    bounded = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bounded, bounded))


def file_limit_bytes() -> int:
    """Return how large a file may become."""
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0]


def _set(kind: int, soft: int) -> None:
    """Set the soft limit, as far as the hard one allows: only the soft one can be raised again."""
    hard = resource.getrlimit(kind)[1]
    bounded = soft if hard == resource.RLIM_INFINITY else hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(kind, (bounded, hard))
