"""Bringing a database to the shape that this version needs."""

from pathlib import Path
from typing import Any

from service.errors import DatabaseTooNewError

HEAD = "head"


def upgrade(path: Path, revision: str = HEAD) -> tuple[str | None, str | None]:
    """Migrate the SQLite file up, making it if need be; return the revisions before and after.

    Raises:
        DatabaseTooNewError: the file was written by a newer version; it is left as it is.
    """
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed here

    return _with_alembic(path, lambda config: command.upgrade(config, revision))


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

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection:
        before = _revision(connection)
        script = ScriptDirectory.from_config(config)
        _refuse_newer(path, before, {known.revision for known in script.walk_revisions()})
        config.attributes["connection"] = connection
        act(config)
        connection.commit()
        return before, _revision(connection)


def _revision(connection: Any) -> str | None:
    from alembic.migration import MigrationContext  # noqa: PLC0415

    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(path: Path, revision: str | None, known: set[str]) -> None:
    if revision is not None and revision not in known:
        raise DatabaseTooNewError(
            f"{path} was written by a newer version of Filemill (revision {revision}); "
            "install that version, or name another data folder"
        )
