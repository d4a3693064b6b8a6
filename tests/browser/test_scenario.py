"""The dashboard as a person uses it, from the drop of two photos to the same view after a reload."""

import re
import shutil

import pytest
from playwright.async_api import expect

from tests.browser.pages import SAMPLES, drop, row_of, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_dropped_photos_finish_live_and_one_is_tried_again_with_another_width(watched, tmp_path):
    page = watched.page
    for name in ("rocket.jpg", "chelsea.png"):
        shutil.copy(SAMPLES / name, tmp_path / name)
    await page.goto("/upload?processor=image.thumbnail")
    await drop(page, sorted(tmp_path.iterdir()))
    await expect(page.locator("#uploads li")).to_have_count(2)
    await page.get_by_label("width", exact=True).fill("320")
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#uploads .state[data-state=succeeded]")).to_have_count(2)
    await watched.require_accessible()

    await page.get_by_role("link", name="rocket.jpg").click()
    preview = page.get_by_alt_text("Preview of rocket-320w.jpg")
    await expect(preview).to_be_visible()
    await expect(preview).to_have_js_property("naturalWidth", 320)
    await expect(page.locator("#timeline li")).to_have_text([re.compile(word) for word in ("Subm", "Started", "Succ")])

    await page.get_by_role("button", name="Submit again").click()
    width = page.get_by_label("width", exact=True)
    await expect(width).to_have_value("320")
    await width.fill("111")
    first = page.url
    await page.get_by_role("button", name="Submit the new job").click()
    again = page.get_by_alt_text("Preview of rocket-111w.jpg")
    await expect(again).to_have_js_property("naturalWidth", 111)
    assert page.url != first


async def test_a_slow_job_shows_its_progress_and_is_cancelled(watched, api):
    page = watched.page
    job = submit(api, "demo.slow", wait_s=0)
    await page.goto("/jobs?processor=demo.slow")
    row = row_of(page, job["id"])
    await expect(row.locator(".message")).to_have_text(re.compile(r"step [1-9]\d* of 600"))
    await row.get_by_role("link").first.click()
    await expect(page.locator("#message")).to_contain_text("of 600")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#state")).to_have_text("cancelled")
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert api.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"


async def test_a_filtered_list_is_the_same_after_a_reload(watched, api):
    page = watched.page
    job = submit(api, "demo.refuse")
    await page.goto("/jobs")
    await page.get_by_role("radio", name="Failed").check()
    await page.get_by_label("Processor").select_option("demo.refuse")
    await expect(row_of(page, job["id"])).to_contain_text("no_pages: the input has no pages")
    assert page.url.endswith("/jobs?state=failed&processor=demo.refuse")
    await page.reload()
    await expect(row_of(page, job["id"])).to_be_visible()
    await expect(page.get_by_role("radio", name="Failed")).to_be_checked()
    await expect(page.get_by_label("Processor")).to_have_value("demo.refuse")
    await page.go_back()
    await expect(page.get_by_label("Processor")).to_have_value("")


async def test_a_cancelled_job_that_is_queued_again_goes_on_live(watched, api):
    page = watched.page
    job = submit(api, "demo.slow", wait_s=0, steps=2000)
    api.post(f"/v1/jobs/{job['id']}/cancel")
    await page.goto(f"/jobs/{job['id']}")
    await expect(page.locator("#timeline li").last).to_contain_text("Cancelled")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator("#message")).to_contain_text("of 2000")
    await expect(page.locator("#timeline")).to_contain_text("Queued again")
    api.post(f"/v1/jobs/{job['id']}/cancel")  # as somebody else would
    await expect(page.locator("#state")).to_have_text("cancelled")
    # each change of state once, although the page changed its stream on the way
    words = [re.compile(word) for word in ("Submitted", "", "", "Queued again", "Started", "Cancelled")]
    shown = await page.locator("#timeline li strong").all_text_contents()
    assert shown.count("Queued again") == 1
    assert shown.count("Cancelled") == 2, words


async def test_a_folder_is_dropped_with_all_that_is_in_it(watched, tmp_path):
    page = watched.page
    (folder := tmp_path / "photos" / "older").mkdir(parents=True)
    shutil.copy(SAMPLES / "iris.csv", folder / "deep.csv")
    shutil.copy(SAMPLES / "iris.csv", folder.parent / "top.csv")
    await page.goto("/upload?processor=file.checksum")
    await expect(page.locator("#about")).not_to_be_empty()
    await drop(page, [folder.parent])
    await expect(page.locator("#uploads .name")).to_have_count(2)
    assert sorted(await page.locator("#uploads .name").all_text_contents()) == ["deep.csv", "top.csv"]
    await page.get_by_label("All files in one job").check()
    await page.get_by_role("button", name="Remove deep.csv").click()
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#uploads .state[data-state=succeeded]")).to_have_count(1)
