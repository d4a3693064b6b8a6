"""Private instances of Redis and PostgreSQL: in a temporary folder, on a free port, ended with their piece."""

import os
import pwd
import re
import shutil
from pathlib import Path

from tests.benchmarks.lab import Piece
from tests.benchmarks.processes import free_port, poll, wait_listening
from tests.benchmarks.rows import AbsentError

_INITDB_LIMIT_S = 120
_START_LIMIT_S = 60
_CONNECTIONS = 100
_USERS = ("postgres", "nobody")  # PostgreSQL does not run as root


def start_redis(piece: Piece) -> str:
    """Start Redis with nothing written to disk, its fastest setting; return its URL.

    Raises:
        AbsentError: it is not installed.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        raise AbsentError("redis-server is not installed")
    port = free_port()
    process = piece.start(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", piece.folder]
    )
    wait_listening(process, port)
    return f"redis://127.0.0.1:{port}/0"


def start_postgres(piece: Piece) -> str:
    """Start PostgreSQL as it comes (durable: `fsync` and `synchronous_commit` are on); return its connection string.

    Raises:
        AbsentError: it is not installed, or there is no user to run it as.
    """
    binaries = _postgres_binaries()
    user = _other_user() if os.geteuid() == 0 else None
    place = piece.extra_folder()
    if user is not None:
        shutil.chown(place, user)
    data, port = place / "data", free_port()
    command = [binaries / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    piece.start(command, user=user, cwd=place).wait(_INITDB_LIMIT_S)
    process = piece.start(
        [
            *(binaries / "postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1"),
            *("-c", f"unix_socket_directories={place}", "-c", f"max_connections={_CONNECTIONS}"),
        ],
        user=user,
        cwd=place,
    )
    # it listens before it answers, so its own word counts
    for _ in poll(_START_LIMIT_S, "the start of PostgreSQL", process):
        if "ready to accept connections" in process.said:
            break
    return f"host=127.0.0.1 port={port} user=bench dbname=postgres"


def _postgres_binaries() -> Path:
    """Return the folder that holds `initdb` and `postgres`: on the path, or the newest of Debian's."""
    places = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres")):
            return place
    raise AbsentError("PostgreSQL is not installed")


def _version(place: Path) -> int:
    return int(found[0]) if (found := re.search(r"\d+", place.parent.name)) else 0


def _other_user() -> str:
    known = {one.pw_name for one in pwd.getpwall()}
    for user in _USERS:
        if user in known:
            return user
    raise AbsentError(f"PostgreSQL does not run as root, and there is no user called {' or '.join(_USERS)}")
