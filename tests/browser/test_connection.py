"""The server goes, and comes back: the pages say so, and go on by themselves."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.acceptance.server import Server
from tests.browser.conftest import server_settings
from tests.browser.pages import row_of, submit
from tests.browser.watched import open_watched

pytestmark = pytest.mark.asyncio(loop_scope="session")


_HIDE = """
(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


@pytest.fixture
def own_server(tmp_path, free_port):
    """A server that comes back on the same port."""
    server = Server(tmp_path / "data", arguments=["--port", str(free_port)], **server_settings())
    yield server.start()
    server.destroy()


async def test_a_server_that_is_killed_is_told_and_the_page_recovers_by_itself(browser, own_server):
    async with open_watched(browser, own_server.url) as watched:
        page = watched.page
        await page.goto("/jobs")
        await page.evaluate("fetch('/v1/jobs', {method: 'POST', headers: {'Content-Type': 'application/json'},"
                            " body: JSON.stringify({processor: 'demo.slow'})})")  # fmt: skip
        row = page.locator("#rows tr").first
        await expect(row.locator(".message")).to_contain_text("step")
        await expect(page.locator("#link-state")).to_have_text("Live")
        await page.evaluate("window.same = true")

        own_server.kill()
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        await expect(page.locator("#link-state")).to_have_text("Offline")
        await watched.require_accessible()

        own_server.start()
        await expect(page.locator("#banner")).to_be_hidden()
        await expect(page.locator("#link-state")).to_have_text("Live")
        await expect(row.locator(".c-attempt")).to_have_text(re.compile("^1 /"))  # it was rescued, and runs again
        await expect(row.locator(".message")).to_contain_text("step")
        assert await page.evaluate("window.same")  # it was not loaded anew
        network = ("ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY", "ERR_SOCKET", "ERR_NETWORK")
        watched.complaints = [one for one in watched.complaints if not any(word in one for word in network)]
        await watched.require_quiet()


async def test_an_upload_that_the_server_did_not_get_can_be_sent_again(browser, own_server, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    async with open_watched(browser, own_server.url) as watched:
        page = watched.page
        await page.goto("/upload?processor=file.checksum")
        await expect(page.locator("#about")).not_to_be_empty()
        own_server.kill()
        await page.set_input_files("#files", tmp_path / "a.txt")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.locator("#uploads .note")).to_have_text("the server does not answer")
        own_server.start()
        await expect(page.locator("#banner")).to_be_hidden()
        await page.get_by_role("button", name="Try a.txt again").click()
        await expect(page.locator("#uploads .state[data-state=succeeded]")).to_have_count(1)


async def test_a_page_that_nobody_sees_gives_its_connection_back(watched, api):
    page = watched.page
    await page.goto("/jobs")
    await expect(page.locator("#link-state")).to_have_text("Live")
    listeners = api.get("/v1/stats").json()["listeners"]
    await page.evaluate(_HIDE, arg=True)
    job = submit(api, "demo.refuse")  # an event, by which the server notices that nobody reads
    async with asyncio.timeout(60):
        while api.get("/v1/stats").json()["listeners"] >= listeners:
            await asyncio.sleep(0.05)
    await expect(row_of(page, job["id"])).to_have_count(0)
    await page.evaluate(_HIDE, arg=False)
    await expect(row_of(page, job["id"])).to_be_visible()
