"""Every page, by day and by night and on a telephone: nothing for axe to complain of, nothing beyond the edge.

The screenshots are for people: look at them after a change.
"""

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import ViewportSize, expect

from tests.browser.pages import sample, submit
from tests.browser.processors import HOSTILE
from tests.browser.watched import open_watched

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCREENSHOTS = Path(__file__).parent / "screenshots"
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark", "checked": {"overview", "jobs", "form", "processor", "job", "job-failed"}},
    "narrow": {"color_scheme": "light", "width": 360, "height": 780, "checked": {"jobs", "job"}},
}
FIXED = {
    "overview": "/", "jobs": "/jobs", "nothing": "/jobs?q=nothing-is-called-so", "upload": "/upload",
    "form": "/upload?processor=demo.form", "processors": "/processors", "processor": "/processors/image.thumbnail",
    "uninstalled": "/processors/demo.missing",
}  # fmt: skip


@pytest.fixture(scope="module")
def pages(server):
    """All pages by name, with jobs of each kind."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as api:
        photos = [("rocket.jpg", sample("rocket.jpg")), (f"{HOSTILE}.png", sample("chelsea.png"))]
        jobs = {
            "job": submit(api, "image.thumbnail", *photos, width=320),
            "job-table": submit(api, "table.profile", ("iris.csv", sample("iris.csv"))),
            "job-pdf": submit(api, "pdf.text", ("text.pdf", sample("text.pdf"))),
            "job-hostile": submit(api, "demo.hostile"),
            "job-failed": submit(api, "demo.fail"),
            "job-running": submit(api, "demo.slow", wait_s=0),
        }
        yield FIXED | {name: f"/jobs/{job['id']}" for name, job in jobs.items()}
        api.post(f"/v1/jobs/{jobs['job-running']['id']}/cancel")


@pytest.mark.parametrize("view", VIEWS)
async def test_every_page_is_accessible_fits_and_has_its_picture_taken(browser, server, pages, view):
    SCREENSHOTS.mkdir(exist_ok=True)
    options = dict(VIEWS[view])
    checked = options.pop("checked", pages)
    size = ViewportSize(width=options.pop("width", 1280), height=options.pop("height", 900))
    async with open_watched(browser, server.url, **options) as watched:
        page = watched.page
        await page.set_viewport_size(size)
        for name, place in pages.items():
            await page.goto(place, wait_until="load")
            await expect(page.locator("#link-state")).not_to_have_attribute("data-link", "waiting")
            await expect(page.locator("h1")).to_be_visible()
            await page.screenshot(path=SCREENSHOTS / f"{name}-{view}.png", full_page=True)
            if name in checked:
                await watched.require_accessible()
            beyond = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert beyond <= 0, f"{name} is {beyond} pixels too wide"
        await watched.require_quiet()


async def test_the_colours_can_be_chosen_and_stay_chosen(watched):
    page = watched.page
    await page.emulate_media(color_scheme="light")
    await page.goto("/")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(ground)
    button = page.get_by_role("button", name="Colours")
    await button.click()
    await button.click()
    await expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert await page.evaluate(ground) != light
    await page.goto("/processors")
    assert await page.evaluate(ground) != light


async def test_nothing_comes_from_another_host_and_scripts_may_be_kept(watched, server):
    page = watched.page
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - it gets an attribute
    await page.goto("/jobs")
    await expect(page.locator("#link-state")).to_have_text("Live")
    assert {answer.url.removeprefix(server.url)[0] for answer in answers} == {"/"}
    scripts = [answer for answer in answers if "/static/" in answer.url]
    assert len(scripts) > 10
    for answer in scripts:
        assert "immutable" in answer.headers["cache-control"]
        assert "unsafe" not in answer.headers["content-security-policy"]


async def test_the_policy_stops_what_is_written_into_a_page(browser, server):
    async with open_watched(browser, server.url) as watched:
        await watched.page.goto("/")
        await watched.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))"
        )
        assert await watched.page.evaluate("window.ran") is None
        assert await watched.page.evaluate("window.reports") == ["script-src-elem inline"]


async def test_the_overview_follows_the_figures_of_the_server(watched, api):
    page = watched.page
    await page.goto("/")
    tile = page.locator("#tiles li", has_text="failed").locator("strong")
    before = api.get("/v1/stats").json()["jobs"]["failed"]
    await expect(tile).to_have_text(str(before))
    submit(api, "demo.refuse")
    await expect(tile).to_have_text(str(before + 1))
    await expect(page.locator("#failures")).to_contain_text("no_pages")
    await expect(page.locator("#processors")).to_contain_text("demo.refuse")
    await expect(page.get_by_role("img", name="Throughput")).to_be_visible()
    await tile.click()
    assert page.url.endswith("/jobs?state=failed")
