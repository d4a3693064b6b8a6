"""Bringing a database to the shape that this version needs."""

import os
from pathlib import Path
from typing import Any

from service.errors import DatabaseMissingError, DatabaseTooNewError, StartError
from service.store.shrinking import first_pragmas, make_shrinkable

HEAD = "head"


def upgrade(path: Path, revision: str = HEAD) -> tuple[str | None, str | None]:
    """Migrate the SQLite file up, making it if need be; return the revisions before and after.

    Raises:
        DatabaseTooNewError: the file was written by a newer version; it is left as it is.
        DatabaseMissingError: there are files beside it that only a database could tell apart.
        StartError: the file cannot be opened, or is not a database.
    """
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed here

    _refuse_loss(path)
    _refuse_read_only(path)
    before, after = _with_alembic(path, lambda config: command.upgrade(config, revision))
    if before not in {None, after}:  # once: a start that was cut short here must not begin with it again
        make_shrinkable(path)
    return before, after


def downgrade(path: Path, revision: str) -> tuple[str | None, str | None]:
    """Migrate the SQLite file down; return the revisions before and after."""
    from alembic import command  # noqa: PLC0415

    return _with_alembic(path, lambda config: command.downgrade(config, revision))


def migrations_folder() -> Path:
    """Return where the migrations are: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "migrations", package.parent / "migrations") if folder.is_dir())


def _with_alembic(path: Path, act: Any) -> tuple[str | None, str | None]:
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    from service.store.database import begin_with, database_url  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))  # as in every .ini file
    engine = create_engine(database_url(path), poolclass=NullPool)
    # all in one transaction: a server that is killed here must not leave half a migration to the next start
    begin_with(engine, "BEGIN IMMEDIATE", first_pragmas(path))
    try:
        with engine.connect() as connection:
            before = _revision(connection)
            script = ScriptDirectory.from_config(config)
            _refuse_newer(path, before, {known.revision for known in script.walk_revisions()})
            config.attributes["connection"] = connection
            act(config)
            connection.commit()
            return before, _revision(connection)
    except DBAPIError as error:
        raise StartError(f"the database {path} cannot be used: {error.orig}") from error


def _refuse_loss(path: Path) -> None:
    """Refuse to begin anew over files: to an empty database they are orphans, and the sweep would delete them.

    The storage makes its folder after the first database is there, so files without one have lost it.
    """
    files = path.parent / "files"
    try:
        is_lost = files.is_dir() and any(files.iterdir()) and not (path.exists() and path.stat().st_size)
    except OSError as error:
        raise StartError(f"{error.filename} cannot be read: {error.strerror}") from error
    if is_lost:
        raise DatabaseMissingError(
            f"the database {path} is missing, and {files} shows that there was one: put it back from a backup, "
            f"or name another data folder; to begin anew, and lose what is there, delete {files}"
        )


def _refuse_read_only(path: Path) -> None:
    """Refuse what SQLite would open without a word, only to read: no job could be accepted."""
    for one in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if one.exists() and not os.access(one, os.R_OK | os.W_OK):
            raise StartError(f"the database {path} cannot be used: {one.name} cannot be written by this user")


def _revision(connection: Any) -> str | None:
    from alembic.migration import MigrationContext  # noqa: PLC0415

    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(path: Path, revision: str | None, known: set[str]) -> None:
    if revision is not None and revision not in known:
        raise DatabaseTooNewError(
            f"{path} was written by a newer version of Filemill (revision {revision}); "
            "install that version, or name another data folder"
        )
