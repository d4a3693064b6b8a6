"""File names, log lines, params and results are hostile text: nothing in them becomes markup."""

import asyncio
import re
import subprocess

import pytest
from playwright.async_api import expect

from tests.browser.pages import row_of, sample, submit
from tests.browser.processors import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAME = f"{HOSTILE}.png"


async def require_inert(page):
    """Fail when the hostile image became an element, or its script ran (that would open a dialog)."""
    assert await page.locator("img[src=x], script:not([src])").count() == 0


async def test_a_hostile_file_name_is_text_everywhere(watched, api, tmp_path):
    page = watched.page
    (tmp_path / NAME).write_bytes(sample("chelsea.png"))
    await page.goto("/upload?processor=image.thumbnail")
    await page.set_input_files("#files", tmp_path / NAME)
    await page.get_by_role("button", name="Submit").click()
    await expect(page.locator("#uploads .state[data-state=succeeded]")).to_have_count(1)
    await expect(page.locator("#uploads .name")).to_have_text(NAME)
    await require_inert(page)

    job = api.get("/v1/jobs?limit=1").json()["items"][0]
    await page.goto("/jobs")
    await expect(row_of(page, job["id"]).locator("bdi")).to_have_text(NAME)
    await require_inert(page)

    await row_of(page, job["id"]).get_by_role("link", name=NAME).click()
    await expect(page.locator("h1")).to_have_text(NAME)
    await expect(page.locator("#outputs .name")).to_have_text(f"{HOSTILE}-800w.jpg")
    await expect(page).to_have_title(re.compile(re.escape(NAME)))
    await require_inert(page)


async def test_hostile_results_and_log_lines_are_text_and_cut(watched, api):
    page = watched.page
    job = submit(api, "demo.hostile")
    await page.goto(f"/jobs/{job['id']}")
    result = page.locator("#result pre")
    await expect(result).to_contain_text("</script><script>alert(1)</script>")
    assert len(await result.inner_text()) < 40_000
    await expect(page.get_by_role("link", name="The whole job")).to_have_attribute("href", f"/v1/jobs/{job['id']}")

    await expect(page.locator("#log .line")).to_have_count(2)
    first, second = await page.locator("#log .line").all()
    # the escapes that colour a terminal are gone, and what turns the reading direction is shown
    await expect(first).to_have_text(f"{HOSTILE} red \ufffdgnp.exe")
    await expect(second).to_have_text(re.compile(r"^x{600}…"))
    await second.get_by_text("characters").click()
    assert len(await second.locator("pre").inner_text()) > 600
    await expect(page.locator(".log-fields")).to_have_text("tag=</script>")
    await require_inert(page)


async def test_a_hostile_error_is_text_with_its_traceback_folded(watched, api):
    page = watched.page
    job = submit(api, "demo.fail")
    await page.goto(f"/jobs/{job['id']}")
    await expect(page.locator("#error-body")).to_contain_text(f"RuntimeError: {HOSTILE}")
    trace = page.locator("#error-body pre")
    await expect(trace).to_be_hidden()
    await page.get_by_text("traceback", exact=True).click()
    await expect(trace).to_contain_text("raise RuntimeError(HOSTILE)")
    await require_inert(page)


async def test_hostile_files_are_shown_as_text_tables_and_images(watched, api):
    page = watched.page
    files = [
        ("page.html", b"<!doctype html><html><body><script>alert(1)</script>"),
        ("table.csv", f'name,"a ""b""",c\n{HOSTILE},"x,\ny",3\n'.encode()),
        ("data.json", b'{"a":"</script>"}'),
        (
            "drawing.svg",
            b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>',
        ),
        ("long.txt", b"line\n" * 20_000),
    ]
    job = submit(api, "file.checksum", *files)
    await page.goto(f"/jobs/{job['id']}")
    for name in ("page.html", "long.txt"):
        await page.get_by_role("region", name=f"Preview of {name}").scroll_into_view_if_needed()
    await expect(page.get_by_role("region", name="Preview of page.html")).to_contain_text("<script>alert(1)</script>")
    table = page.get_by_role("region", name="Preview of table.csv")
    await expect(table.get_by_role("columnheader")).to_have_text(["name", 'a "b"', "c"])
    await expect(table.get_by_role("cell")).to_have_text([HOSTILE, "x, y", "3"])
    await expect(page.get_by_role("region", name="Preview of data.json")).to_have_text('{ "a": "</script>" }')
    await expect(page.locator(".cut")).to_contain_text("The first 32 KiB of 98 KiB.")
    await require_inert(page)


async def test_the_curl_command_submits_the_same_job_whatever_its_texts(watched, api, tmp_path):
    page = watched.page
    name = 'it\'s; "quoted", $(id) `id` & <x>.png'
    job = submit(api, "text.write", ("in.json", b'{"b": 1}'), name="o'b.txt", template="{{ b }}; type=text/html $HOME")
    await page.goto(f"/jobs/{job['id']}")
    (tmp_path / "in.json").write_bytes(b'{"b": 1}')
    again = await run_command(await shown_command(page), tmp_path, api)
    assert (again["processor"], again["params"]) == ("text.write", job["params"])

    job = submit(api, "file.checksum", (name, sample("chelsea.png")))
    await page.goto(f"/jobs/{job['id']}")
    (tmp_path / job["inputs"][0]["name"]).write_bytes(sample("chelsea.png"))
    again = await run_command(await shown_command(page), tmp_path, api)
    assert [file["sha256"] for file in again["inputs"]] == [file["sha256"] for file in job["inputs"]]
    assert [file["name"] for file in again["inputs"]] == [file["name"] for file in job["inputs"]]


async def shown_command(page):
    command = page.locator("#curl")
    await expect(command).to_contain_text("curl ")
    return await command.inner_text()


async def run_command(command, folder, api):
    """Run a command of the page in a shell, and return the job that it made."""
    assert command.startswith("curl ")
    quiet = command.replace("curl ", "curl -s --noproxy '*' ", 1)
    await asyncio.to_thread(subprocess.run, ["sh", "-c", quiet], cwd=folder, check=True, capture_output=True)
    return api.get("/v1/jobs?limit=1").json()["items"][0]
