"""Rows of files, and the key that may be taken: what jobs and files share."""

from functools import cache
from typing import Any, TypeVar

from sqlalchemy import inspect
from sqlmodel import SQLModel

from service.store.models import File
from service.store.records import NewFile

_Row = TypeVar("_Row", bound=SQLModel)


class KeyTakenError(Exception):
    """The idempotency key has an answer already."""


def file_of(new: NewFile) -> File:
    """Return the row of a file."""
    return as_loaded(
        File, id=new.id, name=new.name, media_type=new.media_type, size_bytes=new.size_bytes, sha256=new.sha256,
        kept=False, created_at=new.created_at,
    )  # fmt: skip


def as_loaded(model: type[_Row], **values: Any) -> _Row:
    """Return a row as reading it from the database gives it; it is only read.

    SQLAlchemy makes those without a call of each column's setter, which is a tenth of the work of a small upload.
    """
    row: _Row = inspect(model).class_manager.new_instance()
    row.__dict__.update(_unset(model), **values)
    return row


@cache
def _unset(model: type[SQLModel]) -> dict[str, None]:
    return dict.fromkeys(inspect(model).column_attrs.keys())
