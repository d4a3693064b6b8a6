"""A service on a data folder of its own, for each test that asks for one.

`@pytest.mark.settings(max_files=2)` changes its settings. No verdict of the default run depends on how fast the machine
is: what is timed is marked `timed`, and left out. With `NO_SKIPS=1` in the environment, as in CI, a test that
would be skipped for want of a tool fails instead.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI

from service.app import create_app
from service.logs import LossyErrors
from service.runtime import Runtime
from service.settings import Settings
from tests.fakes import FakeClock

PROCESSORS = str(Path(__file__).parent / "web" / "processors.py")

pytest.register_assert_rewrite("tests.web.answers")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell does that to what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # what a thread says at the wrong moment must not go to a stream that a test before has closed
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(LossyErrors()))  # type: ignore[arg-type]
    config.addinivalue_line("markers", "settings(**changes): settings of the service that the test runs on")
    config.addinivalue_line(
        "markers", "timed: the verdict is a duration, so the machine must be quiet: `pytest -n0 -m timed`"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("NO_SKIPS"):
        report.outcome = "failed"
    return report


@pytest.fixture(autouse=True)
def _own_import_path() -> Iterator[None]:
    """Forget where a test has looked for processors."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    values = {
        "data_dir": tmp_path / "data",
        "processors": PROCESSORS,
        "consumers": 4,
        "child_processes": 1,
        "shutdown_grace_s": 0,
        "min_free_bytes": 0,
    }
    for marker in reversed(list(request.node.iter_markers("settings"))):
        values |= marker.kwargs
    return Settings.model_validate(values)


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def runtime(app: FastAPI) -> Runtime:
    runtime: Runtime = app.state.runtime
    return runtime


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    # an exception that the application lets through is raised here: no test can overlook a 500
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://filemill") as client:
        yield client
