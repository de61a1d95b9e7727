"""Fixtures of the tests of the page: the real service and a real browser."""

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from ci_selftest.scratch import Scratch, kill_processes_of
from tests.helpers.installation import ROOT
from tests.helpers.service import Service, ended, terminals
from tests.ui.browser import PATIENCE_MS, Watched, accessibility_findings, running_browser, watched_page

expect.set_options(timeout=PATIENCE_MS)

_RENAME = """([path, name]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    if (texts.currentNode.data.includes(path)) texts.currentNode.data = texts.currentNode.data.replaceAll(path, name);
}"""
"""Has a picture name no directory of the machine that it was made on."""

OpenPage = Callable[..., AbstractAsyncContextManager[Watched]]
Inspect = Callable[[Page, str], Awaitable[None]]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """The settings of the service; a test may change them before it asks for it."""
    return {
        "CI_DB_PATH": str(tmp_path / "ci_jobs.db"),
        "CI_RUNTIME": "process",
        "CI_CONTAINER_PREFIX": f"ui-{secrets.token_hex(4)}-",
        "CI_RECONCILE_INTERVAL": "1",
        "CI_STOP_GRACE": "3",
        "CI_SERVER_URL": "",
        "PORT": "0",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


@pytest.fixture
def service(settings: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """A service of its own for the test."""
    service = Service(settings)
    try:
        yield service.start()
    finally:
        service.close()
        kill_processes_of(Scratch(tmp_path))


@pytest.fixture
def admin_key(service: Service, settings: dict[str, str]) -> str:
    """The first key of the service, which may do everything."""
    with terminals(settings) as start:
        status, key, said = ended(start("keys", "create", "--admin"))
    assert status == 0, said
    return key.decode().strip()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser, service: Service) -> OpenPage:
    """Opens pages of the service: `async with open_page(theme="dark", size="phone") as watched`."""

    def opened(**more: object) -> AbstractAsyncContextManager[Watched]:
        return watched_page(browser, service.url, **more)  # type: ignore[arg-type]

    return opened


@pytest.fixture
def inspect(request: pytest.FixtureRequest, tmp_path: Path) -> Inspect:
    """Checks a page that is complete: axe finds nothing, and nothing is wider than the window.

    Its screenshot goes to docs/ui with CI_UI_SCREENSHOTS set, and else to the test's own directory.
    """
    directory = ROOT / "docs/ui" if os.environ.get("CI_UI_SCREENSHOTS") else tmp_path

    async def inspected(page: Page, name: str) -> None:
        await expect(page.get_by_text("Loading …")).to_have_count(0)
        if directory != tmp_path:
            await page.evaluate(_RENAME, [str(tmp_path), "/var/lib/ci-server"])
        await page.screenshot(path=directory / f"{name}.png", full_page=True)
        findings = await accessibility_findings(page)
        assert not findings, f"{name}:\n" + "\n".join(findings)
        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name} is {overflow} pixels wider than the window"

    return inspected
