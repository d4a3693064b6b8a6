"""The list of jobs: pages, search, many at once, and many that run."""

import pytest
from playwright.async_api import expect

from tests.browser.pages import row_of, sample, submit
from tests.browser.watched import open_watched

pytestmark = pytest.mark.asyncio(loop_scope="session")

# what a person would feel: frames that the page was late with, while events rain on it
_FRAMES = """
async ({ rows, events, ms }) => {
  const base = document.querySelector("script[type=module]").src;
  const { JobsTable } = await import(new URL("jobs_table.js", base));
  const { applyEvent } = await import(new URL("job_state.js", base));
  const table = new JobsTable(document.getElementById("rows"), () => {});
  const at = new Date().toISOString();
  const jobs = Array.from({ length: rows }, (_, index) => ({
    id: String(index).padStart(12, "0"), processor: "demo.slow", state: "running", attempt: 1, max_attempts: 3,
    created_at: at, started_at: at, finished_at: null, run_after: at, error: null, inputs: [], outputs: [],
    progress: { fraction: 0, message: "" },
  }));
  table.show(jobs, new Set());
  await new Promise((resolve) => setTimeout(resolve, 300));
  const frames = [];
  let last = performance.now();
  const end = performance.now() + ms;
  let sent = 0;
  while (performance.now() < end) {
    for (let index = 0; index < events; index += 1) {
      const job = jobs[sent % rows];
      sent += 1;
      applyEvent(job, "progress", { fraction: (sent % 1000) / 1000, message: `step ${sent}` });
      table.touch(job.id);
    }
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  frames.sort((one, other) => one - other);
  const median = frames[Math.floor(frames.length / 2)];
  return { sent, median, shown: document.querySelector("#rows .message").textContent };
}
"""


@pytest.fixture(scope="module")
def older(server):
    """A page and a bit of finished jobs that no other test makes."""
    import httpx  # noqa: PLC0415

    with httpx.Client(base_url=server.url, trust_env=False) as api:
        first = submit(api, "demo.refuse", ("very-first-name.bin", b"\0"))
        for _ in range(54):
            submit(api, "demo.refuse", wait_s=0)
        submit(api, "demo.refuse")
    return first["id"]


async def test_the_list_is_paged_by_cursor_and_the_address_says_which_page(watched, older):
    page = watched.page
    await page.goto("/jobs?processor=demo.refuse")
    await expect(page.locator("#rows tr")).to_have_count(50)
    await page.get_by_role("button", name="Older").click()
    await expect(row_of(page, older)).to_be_visible()
    assert "cursor=" in page.url
    await page.reload()
    await expect(row_of(page, older)).to_be_visible()
    await page.get_by_role("button", name="Newest").click()
    await expect(page.locator("#rows tr")).to_have_count(50)
    assert "cursor=" not in page.url


async def test_a_job_is_found_by_its_id_and_by_a_part_of_its_file_name(watched, older):
    page = watched.page
    await page.goto("/jobs")
    await page.get_by_role("searchbox").fill("FIRST-name")
    await expect(page.locator("#rows tr")).to_have_count(1)
    await expect(row_of(page, older)).to_be_visible()
    await expect(page.locator("#shown")).to_contain_text("1 job found in")
    assert page.url.endswith("q=FIRST-name")
    await page.goto(f"/jobs?q={older}")
    await expect(row_of(page, older)).to_be_visible()
    await expect(page.get_by_role("searchbox")).to_have_value(older)
    await page.goto("/jobs?q=nobody-called-a-file-so")
    await expect(page.locator("#empty")).to_contain_text("No job fits.")


async def test_many_jobs_are_cancelled_queued_again_and_deleted_together(watched, api):
    page = watched.page
    slow = [submit(api, "demo.slow", wait_s=0)["id"] for _ in range(3)]
    await page.goto("/jobs?processor=demo.slow")
    for job_id in slow:
        await row_of(page, job_id).get_by_role("checkbox").check()
    await expect(page.locator("#selected-count")).to_have_text("3 jobs selected")
    await watched.require_accessible()
    bar = page.get_by_role("toolbar")
    await bar.get_by_role("button", name="Cancel").click()
    for job_id in slow:
        await expect(row_of(page, job_id).locator(".state")).to_have_text("cancelled")
    await expect(bar).to_be_hidden()

    for job_id in slow[:2]:
        await row_of(page, job_id).get_by_role("checkbox").check()
    await bar.get_by_role("button", name="Retry").click()
    for job_id in slow[:2]:
        await expect(row_of(page, job_id).locator(".state")).to_have_text("running")
        api.post(f"/v1/jobs/{job_id}/cancel")
        await expect(row_of(page, job_id).locator(".state")).to_have_text("cancelled")

    for job_id in slow:
        await row_of(page, job_id).get_by_role("checkbox").check()
    await bar.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    assert api.get(f"/v1/jobs/{slow[0]}").status_code == 200
    await bar.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    for job_id in slow:
        await expect(row_of(page, job_id)).to_have_count(0)
    assert [api.get(f"/v1/jobs/{job_id}").status_code for job_id in slow] == [404, 404, 404]


async def test_a_new_job_appears_by_itself(watched, api):
    page = watched.page
    await page.goto("/jobs")
    await expect(page.locator("#link-state")).to_have_text("Live")
    job = submit(api, "image.thumbnail", ("grace.jpg", sample("grace_hopper.jpg")), wait_s=0)
    row = row_of(page, job["id"])
    await expect(row.locator(".state")).to_have_text("succeeded")
    await expect(row.locator(".message")).to_contain_text("1 file")


async def test_a_thousand_running_jobs_are_shown_as_they_move(watched):
    found = await _frames_of_many(watched.page)
    assert found["sent"] >= 100
    assert found["shown"].startswith("step ")


@pytest.mark.timed
async def test_a_thousand_running_jobs_leave_the_frames_short(watched):
    found = await _frames_of_many(watched.page)
    # the median, because other programs may hold up a frame or two
    assert found["median"] < 50, found


async def _frames_of_many(page):
    await page.goto("/upload")  # a page without a list of its own
    await page.goto("/jobs?state=cancelled&processor=mail.send")
    await expect(page.locator("#empty")).to_be_visible()
    return await page.evaluate(_FRAMES, {"rows": 1000, "events": 100, "ms": 1500})


async def test_the_list_can_be_used_by_keyboard_alone(watched, api):
    page = watched.page
    job = submit(api, "demo.refuse")
    await page.goto("/jobs?state=failed")
    await expect(row_of(page, job["id"])).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await row_of(page, job["id"]).get_by_role("checkbox").evaluate("one => one === document.activeElement"):
            break
    await page.keyboard.press("Space")
    await expect(page.locator("#selected-count")).to_have_text("1 job selected")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#job-id")).to_have_text(job["id"])


async def test_a_page_of_a_job_that_is_not_there_says_so(browser, server):
    async with open_watched(browser, server.url) as watched:
        await watched.page.goto("/jobs/no-such-job")
        await expect(watched.page.locator("h1")).to_have_text("No such job")
        await watched.require_accessible()


async def test_the_list_asks_for_and_keeps_no_more_than_its_rows_show(browser, server):
    import httpx  # noqa: PLC0415

    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as api:
        fields = {"processor": "demo.refuse", "metadata": '{"order": "of many words"}'}
        files = {"file": ("one.bin", b"\0")}
        (await api.post("/v1/jobs", data=fields, files=files)).raise_for_status()
    page = await browser.new_page()
    answers = []
    page.on("response", lambda answer: answers.append(answer) if "/v1/jobs?" in answer.url else None)
    await page.goto(f"{server.url}/jobs")
    await expect(page.locator("#rows tr").first).to_be_visible()
    items = (await answers[0].json())["items"]
    assert items
    assert not {"params", "metadata", "result"} & items[0].keys()
    await page.close()
