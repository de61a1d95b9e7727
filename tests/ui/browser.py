"""A real browser, and pages of it that notice whatever must not happen on any page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Error, Page, Request, Response, async_playwright

from tests.engine.packages import install_packages
from tests.helpers.installation import ROOT

Theme = Literal["light", "dark"]
Size = Literal["desktop", "phone"]

SIZES: Final[dict[Size, tuple[int, int]]] = {"desktop": (1280, 800), "phone": (390, 844)}
PATIENCE_MS: Final = 30_000
_CHROMIUM: Final = "/usr/bin/chromium"
_AXE: Final = ROOT / "ci_ui/node_modules/axe-core/axe.min.js"
_RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
_NETWORK_CHANGED: Final = "net::ERR_NETWORK_CHANGED"
"""Chromium ends its connections when interfaces of the machine come and go, as those of a job's network in Docker do.
That is no fault of a page."""
_NOTE_VIOLATIONS: Final = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(`${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`));
"""


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run Debian's Chromium, which is installed where it is missing."""
    if not Path(_CHROMIUM).exists():
        install_packages(["chromium", "fonts-dejavu-core"])
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=_CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
            ],
        )
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """A page, and what it did that no page may do."""

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)
    allowed_errors: tuple[str, ...] = ()
    """Parts of messages on the console that the test causes, such as that of a server that is gone."""

    def note_request(self, request: Request) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws", "wss") and not request.url.startswith(self.origin):
            self.faults.append(f"a request to another host: {request.url}")

    def note_console(self, message: Any) -> None:
        allowed = (*self.allowed_errors, _NETWORK_CHANGED)
        if message.type == "error" and not any(part in message.text for part in allowed):
            self.faults.append(f"an error on the console: {message.text}")

    async def check(self) -> None:
        """Fail if the page has sent a request to another host, broken its policy, or written an error."""
        if not self.page.is_closed():
            violations = await self.page.evaluate("window.__violations")
            self.faults += [f"a violation of the policy: {each}" for each in violations]
        assert not self.faults, "\n".join(self.faults)


@asynccontextmanager
async def watched_page(
    browser: Browser, origin: str, *, theme: Theme = "light", size: Size = "desktop", **more: Any
) -> AsyncIterator[Watched]:
    """Open a page in a context of its own, and check it at the end."""
    width, height = SIZES[size]
    context = await browser.new_context(
        base_url=origin,
        color_scheme=theme,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        has_touch=size == "phone",
        locale="en-GB",
        timezone_id="Europe/Berlin",
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(_NOTE_VIOLATIONS)
    page = await context.new_page()
    _go_again(page)
    watched = Watched(page, origin)
    page.on("request", watched.note_request)
    page.on("console", watched.note_console)
    page.on("pageerror", lambda error: watched.faults.append(f"an exception of the page: {error}"))
    try:
        yield watched
        await watched.check()
    finally:
        await context.close()


def _go_again(page: Page) -> None:
    """Have `page.goto` try again where the connection of the document itself ends, as people do."""
    goto = page.goto

    async def going(url: str, **more: Any) -> Response | None:
        for _ in range(3):
            try:
                return await goto(url, **more)
            except Error as exc:
                if _NETWORK_CHANGED not in exc.message:
                    raise
        return await goto(url, **more)

    page.goto = going  # type: ignore[method-assign, assignment]


async def accessibility_findings(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2 AA on the page as it is now."""
    await page.evaluate(_AXE.read_text())
    found = await page.evaluate("(tags) => axe.run(document, { runOnly: tags })", list(_RULES))
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
