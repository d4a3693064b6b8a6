"""DuckDB, shut in: it reads the files it was given and nothing else, and has no network."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.processors.base import Fail

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT_BYTES = 1_500 * 1024**2  # of the child process
ENGINE_MEMORY = "512MiB"
THREADS = 2
SPILL_LIMIT = "20GiB"
MAX_OUTPUT_BYTES = 10 * 1024**3
NO_PARTITIONS = {"hive_partitioning": "false"}  # else a folder `region=eu` on the way to a file would be a column of it
PLAIN_BYTES = {**NO_PARTITIONS, "compression": "'none'"}  # else a suffix such as .gz would be believed
_ODD_ROW = re.compile(r"CSV Error on Line: (\d+); Expected Number of Columns: (\d+) Found: (\d+)")


@contextlib.contextmanager
def open_engine(folder: Path, reads: Sequence[Path], writes: Path | None = None) -> Iterator["DuckDBPyConnection"]:
    """Open a database in memory that may read these files, write that one, and spill into the folder.

    `lock` it before any SQL from outside runs.
    """
    import duckdb  # noqa: PLC0415 - large, and only needed here

    spill = folder / "spill"
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": THREADS,
        "memory_limit": ENGINE_MEMORY,
        "temp_directory": str(spill),
        "max_temp_directory_size": SPILL_LIMIT,
        "python_enable_replacements": False,  # else the names of variables would be tables
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_persistent_secrets": False,
        "enable_external_file_cache": False,
    }
    connection = duckdb.connect(":memory:", config=config)
    try:
        # a pattern is looked up itself before what it matches
        paths = ", ".join([*map(text, reads), *map(place, reads), *([text(writes)] if writes else [])])
        connection.execute(f"SET allowed_paths = [{paths}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET enable_progress_bar = false")
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def lock(connection: "DuckDBPyConnection") -> None:
    """Forbid every change of the settings, that to unlock them included."""
    connection.execute("SET lock_configuration = true")


def text(value: object) -> str:
    """Return a value as a literal of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def place(path: Path) -> str:
    """Return the path of a file to be read, as a literal of SQL: a pattern that fits this file alone.

    A path is taken for a pattern wherever it holds `*`, `?` or `[`: https://duckdb.org/docs/stable/data/multiple_files
    """
    return text(re.sub(r"([*?[])", r"[\1]", str(path)))


def name(value: str) -> str:
    """Return a name in the quotes of SQL."""
    return '"' + value.replace('"', '""') + '"'


@contextlib.contextmanager
def failing_as(what: str, code: str) -> Iterator[None]:
    """Turn an error of the database into a failure of the job: "`what`: why", in one sentence."""
    import duckdb  # noqa: PLC0415 - see above

    try:
        yield
    except duckdb.OutOfMemoryException:
        message = f"{what}: it needs more than the {ENGINE_MEMORY} of memory and {SPILL_LIMIT} of disk space there are"
        raise Fail(message, code="too_large_for_memory") from None
    except duckdb.PermissionException:
        message = f"{what}: it may read the uploaded files only, by their table names; no other file, no network"
        raise Fail(message, code="access_denied") from None
    except duckdb.Error as error:
        raise Fail(f"{what}: {reason(error)}", code=code) from None
    except UnicodeError as error:
        raise Fail(f"{what}: {error}", code=code) from None


def reason(error: Exception) -> str:
    """Return what went wrong, without advice for programmers and without paths of this server."""
    lines = [line.strip() for line in str(error).splitlines()]
    told: list[str] = []
    for line in lines:
        if re.match(r"Possible (fixes|solutions)|LINE \d+:|file = |Candidate|\* ", line):
            break
        if line and not line.startswith("Original Line"):  # file contents belong into no message
            told.append(re.sub(r"""(in|of) (file )?["'][^"']*/[^"']*["']""", r"\1 the file", line))
    sentence = re.sub(r"\A(\w+ ){1,3}Error: ", "", "; ".join(told))
    sentence = _ODD_ROW.sub(r"line \1 has \3 values, and the first has \2; correct it", sentence)
    return re.sub(r"/[\w.-]+(/[\w.-]+)+", "(path)", sentence)[:500]
