"""How alembic reaches the database: by the connection that the service hands over, or else by the settings."""

from alembic import context
from sqlalchemy import create_engine
from sqlmodel import SQLModel

from service.settings import load_settings
from service.store import models  # noqa: F401 - fills SQLModel.metadata
from service.store.database import database_url
from service.store.shrinking import first_pragmas

connection = context.config.attributes.get("connection")
if connection is None:
    path = load_settings().data_dir / "filemill.db"
    connection = create_engine(database_url(path)).connect()
    for pragma in first_pragmas(path):
        connection.exec_driver_sql(pragma)

# batch mode: SQLite cannot alter a table in place
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
