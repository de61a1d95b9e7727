"""Requests that fail in pages: a browser ends its connections whenever a network of its machine comes or goes."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.helpers.installation import ROOT
from tests.helpers.service import Service
from tests.helpers.waiting import eventually
from tests.ui.browser import watched_page
from tests.ui.conftest import OpenPage
from tests.ui.proxies import running_proxy
from tests.ui.test_live import Writing, open_log, shows_all, shows_more

FAILED: Final = ("ERR_CONNECTION_FAILED", "ERR_INTERNET_DISCONNECTED")


def failed_job(service: Service) -> str:
    """Run a job whose log has a line to look for, and return its id."""
    with service.client() as client:
        job_id: str = client.post("/jobs", json={"command": "seq 300; echo the needle; exit 1"}).json()["job_id"]
        client.get(f"/jobs/{job_id}/stream", timeout=30)
    return job_id


async def fail_first(page: Page) -> list[str]:
    """Have the first two requests for each address of the API fail, and the first for each file of the page.

    Return what will hold the addresses of those that did. What index.html itself names is left alone: without it there
    is no page that could ask again.
    """
    failed: list[str] = []
    named = (ROOT / "ci_server/ui/dist/index.html").read_text()

    async def handle(route: Route) -> None:
        url = route.request.url
        is_named = route.request.resource_type == "document" or url.rpartition("/")[2] in named
        if is_named or failed.count(url) >= (1 if "/ui/" in url else 2):
            await route.continue_()
            return
        failed.append(url)
        await route.abort("connectionfailed")

    await page.context.route("**/*", handle)
    return failed


async def test_what_fails_twice_is_asked_for_again(open_page: OpenPage, service: Service) -> None:
    failed_job(service)
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, FAILED
        failed = await fail_first(page)
        await page.goto("/ui/")
        await page.get_by_role("link", name="seq 300").click()
        await expect(page.get_by_text("Exit code", exact=True)).to_be_visible()
        for tab in ("Tests", "Artifacts", "Timeline", "Attempts", "Record", "Log"):
            await page.get_by_role("link", name=tab).first.click()
            await expect(page.get_by_text("Loading …")).to_have_count(0)
            await expect(page.get_by_role("alert")).to_have_count(0)
        await expect(page.get_by_text("the needle").first).to_be_visible()
        await page.get_by_label("Find in all lines").fill("needle")
        await expect(page.get_by_text("1 of 1")).to_be_visible()
        for name in ("Projects", "Submit", "Queue", "Settings"):
            await page.get_by_role("navigation", name="Pages").get_by_role("link", name=name).click()
            await page.get_by_role("heading", level=1).wait_for()
            await expect(page.get_by_text("Loading …")).to_have_count(0)
            await expect(page.get_by_role("alert")).to_have_count(0)
        unstyled = "[...document.querySelectorAll('link[rel=stylesheet]')].filter(link => !link.sheet).length"
        assert await page.evaluate(unstyled) == 0
        kinds = ("/log", ".css", "search.worker", "log.worker", "/jobs?", "/assets/settings")
        assert [kind for kind in kinds if not any(kind in url for url in failed)] == []


@pytest.mark.parametrize("file", ["index-*.js", "index-*.css", "problem-*.js"])
async def test_a_file_without_which_the_page_cannot_begin_is_loaded_again(open_page: OpenPage, file: str) -> None:
    failures = iter(range(2))
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, FAILED

        async def handle(route: Route) -> None:
            await (route.continue_() if next(failures, None) is None else route.abort("connectionfailed"))

        await page.context.route(f"**/assets/{file}", handle)
        async with page.expect_request_finished(lambda request: fnmatch(request.url, f"*/assets/{file}")):
            await page.goto("/ui/")
        await page.wait_for_load_state()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        assert await page.evaluate("document.querySelector('link[rel=stylesheet][href*=index-]').sheet !== null")
        assert await page.evaluate("sessionStorage.length") == 0


async def test_a_page_that_never_loads_is_not_loaded_for_ever(open_page: OpenPage) -> None:
    loads: list[str] = []
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, FAILED
        page.on("request", lambda request: loads.append(request.url) if request.url.endswith("/ui/") else None)
        await page.context.route("**/assets/index-*.js", lambda route: route.abort("connectionfailed"))
        await page.goto("/ui/")
        await eventually(lambda: len(loads) == 4)
        await page.wait_for_load_state()
        await expect(page.get_by_text("If this stays, reload the page.")).to_be_visible()
        assert await page.evaluate("sessionStorage.getItem('loads-that-failed')") == "4", "it is not loaded again"
        assert len(loads) == 4


async def test_a_part_that_cannot_be_loaded_is_told_and_a_reload_shows_it(
    open_page: OpenPage, service: Service
) -> None:
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, (*FAILED, "Unreachable: ")
        await page.goto("/ui/")
        await page.get_by_role("heading", level=1).wait_for()
        await page.route("**/assets/queue-*.js", lambda route: route.abort("internetdisconnected"))
        await page.get_by_role("link", name="Queue").click()
        await expect(page.get_by_role("alert")).to_contain_text("A file of the page could not be loaded")
        await page.get_by_role("link", name="Jobs", exact=True).click()
        await expect(page.get_by_role("alert")).to_have_count(0)
        await page.get_by_role("link", name="Queue").click()
        await page.unroute("**/assets/queue-*.js")
        await page.get_by_role("button", name="Reload the page").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Queue and machine")


async def test_a_log_whose_worker_cannot_be_loaded_is_shown_at_another_try(
    open_page: OpenPage, service: Service
) -> None:
    job_id = failed_job(service)
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, FAILED
        await page.route("**/log.worker*", lambda route: route.abort("internetdisconnected"))
        await page.goto(f"/ui/jobs/{job_id}/log")
        await expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        await page.unroute("**/log.worker*")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("the needle").first).to_be_visible()


async def test_a_page_whose_connections_all_end_goes_on_without_a_word(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    writing = Writing(service, tmp_path / "flag")
    async with (
        running_proxy(service.url, holds_streams_back=False) as proxy,
        watched_page(browser, proxy.url) as watched,
    ):
        page, watched.allowed_errors = watched.page, ("ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")
        await page.add_init_script(
            """addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
                 if (document.body.textContent.includes("does not answer")) window.__complained = true;
               }).observe(document.body, { childList: true, subtree: true, characterData: true }))"""
        )
        await open_log(page, writing.id)
        for _ in range(3):
            proxy.cut()
            await shows_more(page)
        writing.end()
        await shows_all(page)
        assert not await page.evaluate("window.__complained")
