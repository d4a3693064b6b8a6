"""What the browser tests do again and again on the pages."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Locator, Page

SAMPLES = Path(__file__).parents[1] / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


async def drop(page: Page, paths: Sequence[Path]) -> None:
    """Drop files and folders on the upload page, as from a file manager."""
    box = await page.locator("#drop").bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = await page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        await session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    await session.detach()


def submit(
    api: httpx.Client, processor: str, *files: tuple[str, bytes], wait_s: int = 30, **params: Any
) -> dict[str, Any]:
    """Submit a job by the API, and wait for its end; with `wait_s=0`, for nothing."""
    fields = [("processor", (None, processor)), ("params", (None, json.dumps(params)))]
    parts: list[Any] = [*fields, *(("file", file) for file in files)]
    answer = api.post("/v1/jobs", files=parts, headers={"Prefer": f"wait={wait_s}"} if wait_s else {})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def row_of(page: Page, job_id: str) -> Locator:
    """Return the row of a job in the list."""
    return page.locator(f"tr[data-id='{job_id}']")
