"""A page that is watched: what the console said, what the policy stopped, and what axe finds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Browser, ConsoleMessage, Page

_REPORT = """
window.reports = [];
addEventListener("securitypolicyviolation", (event) => {
  window.reports.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""
_RULES = {"resultTypes": ["violations"]}
LIMIT_MS = 15_000


class Watched:
    """One page, and all that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    async def require_quiet(self) -> None:
        """Fail when a script broke, the console has an error, or the policy stopped something."""
        assert await self.page.evaluate("window.reports ?? []") == []
        assert self.complaints == []

    async def require_accessible(self) -> None:
        """Fail for what axe calls serious or critical."""
        found = await Axe().run(self.page, options=_RULES)
        grave = [one for one in found.response["violations"] if one["impact"] in {"serious", "critical"}]
        assert not grave, "\n".join(map(_sentence, grave))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.text} ({message.location['url']})")


@asynccontextmanager
async def open_watched(browser: Browser, url: str, **options: Any) -> AsyncIterator[Watched]:
    """Open a page of its own; `options` are those of a browser context."""
    context = await browser.new_context(base_url=url, viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(LIMIT_MS)
    await context.add_init_script(_REPORT)
    try:
        yield Watched(await context.new_page())
    finally:
        await context.close()


def _sentence(violation: dict[str, Any]) -> str:
    places = [f"{node['target']}: {node['failureSummary']}" for node in violation["nodes"][:5]]
    return f"{violation['id']}: {violation['help']}\n  " + "\n  ".join(places)
