"""What a person waits for: the first page of a long table, and the news of a change; on a quiet machine."""

import statistics

import pytest
from playwright.async_api import expect

from tests.acceptance.server import run_server
from tests.benchmarks.backlog import fill
from tests.browser.conftest import server_settings
from tests.browser.pages import submit
from tests.browser.watched import open_watched

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timed]

JOBS = 100_000
ROUNDS = 5
FIRST_PAGE_MS, NEWS_MS = 200, 50

# the moment at which the frame with the first rows was drawn
_WATCH_ROWS = """
window.drawn = new Promise((resolve) => {
  new MutationObserver((_, observer) => {
    if (document.querySelectorAll("#rows > *").length > 1) {
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now())));
    }
  }).observe(document, { childList: true, subtree: true });
});
"""
_READY_MS = "async () => await window.drawn - performance.getEntriesByType('navigation')[0].responseEnd"
_LISTEN = """
async (count) => {
  const source = new EventSource("/v1/events");
  const delays = [];
  window.delays = new Promise((resolve) => {
    source.addEventListener("state", (event) => {
      delays.push(performance.timeOrigin + performance.now() - Date.parse(JSON.parse(event.data).at));
      if (delays.length === count) resolve(delays);
    });
  });
  await new Promise((resolve) => source.addEventListener("open", resolve));
}
"""
_NEWS = 60


async def test_the_first_page_of_a_hundred_thousand_jobs_is_soon_there(browser, tmp_path):
    fill(tmp_path / "data", JOBS, finished=True)
    settings = server_settings() | {"retention_s": 10**9}
    with run_server(tmp_path / "data", **settings) as server:
        async with open_watched(browser, server.url) as watched:
            await watched.page.add_init_script(_WATCH_ROWS)
            taken = []
            for _ in range(ROUNDS):
                await watched.page.goto("/jobs")
                taken.append(await watched.page.evaluate(_READY_MS))
            await expect(watched.page.locator("#rows > *")).to_have_count(50)
            await watched.require_quiet()
    assert statistics.median(taken) < FIRST_PAGE_MS, taken


async def test_the_news_of_a_commit_is_soon_in_the_browser(watched, api):
    page = watched.page
    await page.goto("/jobs")
    await page.evaluate(_LISTEN, _NEWS)
    for _ in range(_NEWS // 3):  # each is queued, runs and succeeds
        submit(api, "text.write", name="x.txt", content="x")
    delays = await page.evaluate("() => window.delays")
    assert statistics.median(delays) < NEWS_MS, delays
