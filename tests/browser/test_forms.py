"""Forms drawn from JSON Schema, and what the server says of them."""

import pytest
from playwright.async_api import expect

from tests.browser.pages import sample, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def open_form(page, processor):
    await page.goto(f"/upload?processor={processor}")
    await expect(page.locator("#about")).not_to_be_empty()


async def test_each_kind_of_param_has_its_field_and_only_changes_are_sent(watched):
    page = watched.page
    await open_form(page, "demo.form")
    await watched.require_accessible()
    await expect(page.get_by_label("copies")).to_have_value("2")
    await expect(page.get_by_label("copies")).to_have_attribute("max", "9")
    await expect(page.get_by_label("paper").locator("option")).to_have_text(["a4", "a5", "letter"])
    await expect(page.get_by_role("checkbox", name="colour")).to_be_checked()
    await expect(page.get_by_label("front")).to_be_checked()
    await page.get_by_label("title").fill("Menu")
    await page.get_by_label("scale").fill("1.5")
    await page.get_by_label("paper").select_option("a5")
    await page.get_by_label("tags").fill("red\n\n blue ")
    await page.get_by_label("back").check()
    await page.get_by_label("top").fill("25")
    await page.get_by_label("extra").fill('{"a": [1]}')
    async with page.expect_request("**/v1/jobs") as sent:
        await page.get_by_role("button", name="Submit").click()
    params = (await sent.value).post_data_json["params"]
    assert params == {
        "title": "Menu", "scale": 1.5, "paper": "a5", "tags": ["red", "blue"], "sides": ["front", "back"],
        "margins": {"top": 25}, "extra": {"a": [1]},
    }  # fmt: skip
    await expect(page.locator("#state")).to_have_text("succeeded")
    await expect(page.locator("#result pre")).to_contain_text('"top": 25')


async def test_what_cannot_be_right_is_said_at_the_field_before_anything_is_sent(watched):
    page = watched.page
    await open_form(page, "demo.form")
    await page.get_by_label("copies").fill("12")
    await page.get_by_label("extra").fill("{")
    await page.get_by_role("button", name="Submit").click()
    for name in ("title", "copies", "extra"):
        field = page.locator(".field", has=page.get_by_label(name)).last
        await expect(field.locator(".field-problem")).not_to_be_empty()
        await expect(page.get_by_label(name)).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("title")).to_be_focused()
    await watched.require_accessible()


async def test_a_refusal_of_the_server_is_said_at_the_field(watched, tmp_path):
    page = watched.page
    (tmp_path / "a.txt").write_text("a")
    await open_form(page, "demo.form")
    await page.set_input_files("#files", tmp_path / "a.txt")
    await page.get_by_label("title").fill("no capital")
    await page.get_by_role("button", name="Submit").click()
    field = page.locator(".field", has=page.get_by_label("title")).last
    await expect(field.locator(".field-problem")).to_contain_text("pattern")
    await expect(page.get_by_label("title")).to_be_focused()
    await expect(page.locator("#uploads .upload-state")).to_have_text("waiting")  # nothing is lost by it
    await page.get_by_label("title").fill("Capital")
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#uploads .state[data-state=succeeded]")).to_have_count(1)
    watched.complaints = [one for one in watched.complaints if "422" not in one]  # the browser logs each refusal


async def test_a_file_that_the_processor_does_not_take_is_refused_alone(watched, tmp_path):
    page = watched.page
    (tmp_path / "a.txt").write_text("not an image")
    (tmp_path / "b.jpg").write_bytes(sample("rocket.jpg"))
    await open_form(page, "image.thumbnail")
    await page.set_input_files("#files", [tmp_path / "a.txt", tmp_path / "b.jpg"])
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#uploads li", has_text="a.txt")).to_contain_text("image.thumbnail accepts image/jpeg")
    await expect(page.locator("#uploads li", has_text="b.jpg").locator(".state")).to_have_text("succeeded")
    watched.complaints = [one for one in watched.complaints if "422" not in one]


async def test_an_upload_on_its_way_is_cancelled(watched, api, tmp_path):
    page = watched.page
    (tmp_path / "large.bin").write_bytes(bytes(8 * 1024 * 1024))
    await open_form(page, "file.checksum")
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000}
    await session.send("Network.emulateNetworkConditions", slow)
    await page.set_input_files("#files", tmp_path / "large.bin")
    before = api.get("/v1/jobs?limit=1").json()["items"]
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#uploads .note")).to_contain_text("% of 8.0 MiB")
    await page.get_by_role("button", name="Cancel large.bin").click()
    await expect(page.locator("#uploads li")).to_have_count(0)
    assert api.get("/v1/jobs?limit=1").json()["items"] == before
    await session.detach()


async def test_the_pages_of_a_pdf_are_shown_as_images_and_leave_no_job(watched, api):
    page = watched.page
    job = submit(api, "file.checksum", ("text.pdf", sample("text.pdf")))
    await page.goto(f"/jobs/{job['id']}")
    await page.get_by_role("button", name="Show all pages").click()
    await expect(page.locator("img.pdf-page")).to_have_count(2)
    await expect(page.locator("img.pdf-page").first).to_have_js_property("naturalWidth", 900)
    await expect(page.locator("#job-id")).to_have_text(job["id"])
    assert api.get("/v1/jobs?processor=pdf.render").json()["items"] == []


async def test_a_large_file_with_wrong_params_is_refused_before_it_has_travelled(watched, tmp_path):
    page = watched.page
    with (tmp_path / "large.bin").open("wb") as large:
        large.truncate(48 * 1024 * 1024)
    await open_form(page, "demo.form")
    await page.set_input_files("#files", tmp_path / "large.bin")
    await page.get_by_label("title").fill("no capital")
    await page.get_by_role("button", name="Submit").click()
    field = page.locator(".field", has=page.get_by_label("title")).last
    await expect(field.locator(".field-problem")).to_contain_text("pattern")
    await expect(page.locator("#uploads .upload-state")).to_have_text("waiting")
    watched.complaints = [one for one in watched.complaints if "422" not in one]
