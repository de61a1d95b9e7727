"""Live news in open pages: whatever happens to the connection, they go on where they were, and show every byte."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, Page, expect

from ci_selftest.faults.held_ports import held_port
from tests.helpers.service import Service
from tests.helpers.waiting import eventually
from tests.ui.browser import Watched, watched_page
from tests.ui.conftest import OpenPage
from tests.ui.proxies import running_proxy

SERVER_IS_GONE: Final = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_INCOMPLETE_CHUNKED_ENCODING")
NOTE_NOTIFICATIONS: Final = """
window.__notified = [];
window.Notification = class {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title) { window.__notified.push(title); }
};
"""
UNAUTHORIZED: Final = 401
TABS: Final = int(os.environ.get("CI_TEST_TABS", "12"))
"""Fifty take minutes of a small machine: `CI_TEST_TABS=50`, with a longer `--timeout`."""
OFFLINE: Final = ("ERR_INTERNET_DISCONNECTED",)


class Writing:
    """A job that writes lines until it is told to end."""

    def __init__(
        self, service: Service, flag: Path, name: str = "write", key: str | None = None, pause: float = 0.05
    ) -> None:
        self._service = service
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._flag = flag
        command = (
            f"i=0; while [ ! -e {flag} ]; do i=$((i+1)); echo line $i é; sleep {pause}; done; echo the end of {name}"
        )
        with service.client(headers=self._headers) as client:
            answer = client.post("/jobs", json={"steps": [{"name": name, "run": command}]})
        self.id: str = answer.raise_for_status().json()["job_id"]

    async def writes_more(self) -> None:
        """Return once the log is longer than now by some lines."""
        before = self.log_bytes()
        await eventually(lambda: self.log_bytes() > before + 100, "more lines of the job")

    def log_bytes(self) -> int:
        with self._service.client(headers=self._headers) as client:
            return int(client.get(f"/jobs/{self.id}").json()["log_bytes"] or 0)

    def end(self) -> None:
        self._flag.touch()


@pytest.fixture
def settings(settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same, with a port that the service has again after it was started again."""
    with held_port() as port:
        yield {**settings, "PORT": str(port), "MAX_CONCURRENCY": "50"}


@pytest.fixture
def writing(service: Service, tmp_path: Path) -> Writing:
    return Writing(service, tmp_path / "flag")


async def open_log(page: Page, job_id: str) -> None:
    """Show the log of a job that writes, and wait until it moves."""
    await page.goto(f"/ui/jobs/{job_id}/log")
    await shows_more(page)


async def shows_more(page: Page) -> None:
    """Return once a line has come that was not there at the call."""
    lines = "[...document.querySelectorAll('[data-line]')].map(row => Number(row.dataset.line))"
    last: int = await page.evaluate(f"Math.max(0, ...{lines})")

    async def is_further() -> bool:
        return bool(await page.evaluate(f"Math.max(0, ...{lines})") > last)

    await eventually(is_further, "the page shows a later line")


async def shows_all(page: Page, name: str = "write") -> None:
    """Return once the log is complete, and the SHA-256 of what the page has is that of the job's log."""
    await expect(page.get_by_text("✓ Verified")).to_be_visible()
    await expect(page.get_by_text(f"the end of {name}")).to_be_visible()


async def test_pages_go_on_exactly_when_the_server_was_killed(
    open_page: OpenPage, service: Service, writing: Writing
) -> None:
    async with open_page() as watched:
        watched.allowed_errors = SERVER_IS_GONE
        log, job = watched.page, await watched.page.context.new_page()
        await open_log(log, writing.id)
        await job.goto(f"/ui/jobs/{writing.id}")
        await expect(job.get_by_text("Running").first).to_be_visible()
        service.kill()
        for page in (log, job):
            await expect(page.get_by_text("The server does not answer.")).to_be_visible()
        service.start()
        await shows_more(log)
        for page in (log, job):
            await expect(page.get_by_text("The server does not answer.")).to_have_count(0)
        writing.end()
        await shows_all(log)
        await expect(job.get_by_text("Succeeded").first).to_be_visible()


@pytest.mark.parametrize("jobs", [1, TABS])
async def test_many_tabs_go_on_exactly_when_the_server_was_killed(
    open_page: OpenPage, service: Service, tmp_path: Path, jobs: int
) -> None:
    all_writing = [Writing(service, tmp_path / "flag", pause=1) for _ in range(jobs)]
    async with open_page() as watched:
        watched.allowed_errors = SERVER_IS_GONE
        pages = [watched.page, *[await watched.page.context.new_page() for _ in range(TABS - 1)]]
        for number, page in enumerate(pages):
            await page.goto(f"/ui/jobs/{all_writing[number % jobs].id}/log")
        for page in pages:
            await page.locator("[data-line]").first.wait_for()
        service.kill()
        for page in pages:
            await expect(page.get_by_text("The server does not answer.")).to_be_visible()
        service.start()
        for page in pages:
            await shows_more(page)
        all_writing[0].end()
        for page in pages:
            await shows_all(page)


async def test_a_page_that_was_offline_goes_on_exactly(open_page: OpenPage, writing: Writing) -> None:
    async with open_page() as watched:
        watched.allowed_errors = OFFLINE
        page = watched.page
        await open_log(page, writing.id)
        await page.context.set_offline(True)
        await expect(page.get_by_text("You are offline.")).to_be_visible()
        await writing.writes_more()
        await page.context.set_offline(False)
        await shows_more(page)
        await expect(page.get_by_text("You are offline.")).to_have_count(0)
        writing.end()
        await shows_all(page)


@pytest.mark.parametrize("kind", ["holds streams back", "is slow"])
async def test_a_proxy_does_not_keep_a_page_from_being_live(
    browser: Browser, service: Service, writing: Writing, kind: str
) -> None:
    holds = kind == "holds streams back"
    async with (
        running_proxy(service.url, holds_streams_back=holds, pause=0 if holds else 0.001) as proxy,
        watched_page(browser, proxy.url) as watched,
    ):
        page = watched.page
        await open_log(page, writing.id)
        if holds:
            await expect(page.get_by_text("holds live news back")).to_be_visible()
            streams = proxy.streams
            await shows_more(page)
        writing.end()
        await shows_all(page)
        if holds:
            assert proxy.streams == streams, "streams that nothing arrives on were tried again and again"


async def test_a_hidden_page_gives_its_stream_up_and_goes_on_exactly(open_page: OpenPage, writing: Writing) -> None:
    async with open_page() as watched:
        page = watched.page
        await page.clock.install()
        await open_log(page, writing.id)
        await turn(watched, "hidden")
        await page.clock.fast_forward(31_000)
        await writing.writes_more()
        await turn(watched, "visible")
        await shows_more(page)
        writing.end()
        await shows_all(page)


async def test_a_revoked_key_is_told_once_and_another_goes_on(
    open_page: OpenPage, service: Service, admin_key: str, tmp_path: Path
) -> None:
    writing = Writing(service, tmp_path / "flag", key=admin_key)
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, ("status of 401",)
        await page.goto(f"/ui/sign-in?return_to=/ui/jobs/{writing.id}/log")
        await page.get_by_label("Key", exact=True).fill(admin_key)
        await page.get_by_role("button", name="Sign in").click()
        await shows_more(page)
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status == UNAUTHORIZED else None)
        with service.client(headers={"Authorization": f"Bearer {admin_key}"}) as client:
            for key in client.get("/keys").json():
                if key["name"].startswith("browser of"):
                    client.delete(f"/keys/{key['id']}").raise_for_status()
        await expect(page.get_by_text("You are not signed in any more.")).to_be_visible()
        await writing.writes_more()
        assert len(refused) <= 1, refused
        await page.get_by_role("button", name="Sign in again").click()
        await page.get_by_role("dialog").get_by_label("Key", exact=True).fill(admin_key)
        await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        await shows_more(page)
        writing.end()
        await shows_all(page)


async def test_a_job_that_was_deleted_meanwhile_is_said_to_be_gone(
    open_page: OpenPage, service: Service, writing: Writing
) -> None:
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, (*OFFLINE, "status of 404")
        await page.goto(f"/ui/jobs/{writing.id}")
        await expect(page.get_by_text("Running").first).to_be_visible()
        await page.context.set_offline(True)
        await expect(page.get_by_text("You are offline.")).to_be_visible()
        with service.client() as client:
            client.post(f"/jobs/{writing.id}/cancel").raise_for_status()
            await eventually(lambda: client.get(f"/jobs/{writing.id}").json()["status"] == "completed", "the end")
            client.delete(f"/jobs/{writing.id}").raise_for_status()
        await page.context.set_offline(False)
        await expect(page.get_by_text("has been deleted").first).to_be_visible()


async def test_every_tab_tells_the_end_and_one_notifies(open_page: OpenPage, writing: Writing) -> None:
    async with open_page(permissions=["notifications"]) as watched:
        context = watched.page.context
        await context.add_init_script(NOTE_NOTIFICATIONS)
        pages = [watched.page, await context.new_page(), await context.new_page()]
        for page in pages:
            await page.goto(f"/ui/jobs/{writing.id}")
            await expect(page.get_by_text("Running").first).to_be_visible()
        await pages[0].get_by_role("button", name="Notify me at the end").click()
        await expect(pages[0].get_by_role("button", name="You will be notified")).to_be_visible()
        writing.end()
        for page in pages:
            await expect(page).to_have_title(re.compile("^Succeeded"))
            icon = page.locator("link[rel=icon]")
            assert (await icon.get_attribute("href") or "").endswith("icons/succeeded.svg")
        notified = [title for page in pages for title in await page.evaluate("window.__notified")]
        assert notified == ["Job: Succeeded"]


async def turn(watched: Watched, state: str) -> None:
    """Hide or show a page, as far as it can know."""
    await watched.page.evaluate(
        """state => {
            Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )
