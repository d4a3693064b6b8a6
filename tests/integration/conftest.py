"""A migrated database for each test that asks for one: made once, then copied."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.store.migrate import upgrade
from tests.integration.catalogue import Attempts
from tests.integration.stores import Store, open_store

pytest.register_assert_rewrite("tests.contracts.storage", "tests.contracts.job_queue")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "filemill.db"
    upgrade(path)
    return path


@pytest.fixture
def database_path(empty_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_database, tmp_path / "filemill.db"))


@pytest.fixture
async def store(database_path: Path) -> AsyncIterator[Store]:
    async with open_store(database_path) as store:
        yield store


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path)
