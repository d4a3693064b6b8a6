"""Chromium, as Debian packs it, on the dashboard of a real server process."""

import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.acceptance.server import Server, run_server
from tests.browser.watched import Watched, open_watched

PROCESSORS = Path(__file__).parent / "processors.py"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# the sandbox of Chromium needs a user that is not root; nothing but our own pages is shown
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"]


def find_chromium() -> str | None:
    """Return the path of a browser: the one that CHROMIUM names, or one of the usual names."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or name one in CHROMIUM")
    expect.set_options(timeout=60_000)  # ms: it ends what hangs
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("browser") / "data", **server_settings()) as server:
        yield server


def server_settings() -> dict[str, Any]:
    return {"processors": PROCESSORS, "consumers": 8, "child_processes": 1, "shutdown_grace_s": 0}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest_asyncio.fixture(loop_scope="session")
async def watched(browser: Browser, server: Server) -> AsyncIterator[Watched]:
    async with open_watched(browser, server.url) as watched:
        yield watched
        await watched.require_quiet()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=100) as client:
        yield client
