"""Signing in on the page: once, from any address, behind a path of a proxy, and again under an open page."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, expect

from ci_selftest.faults.held_ports import held_port
from tests.e2e.nginx import Nginx
from tests.helpers.service import Service
from tests.ui.browser import Size, Theme, watched_page
from tests.ui.conftest import Inspect, OpenPage

REFUSED = ("status of 401",)
"""What the browser itself writes to the console when the server refuses a key."""
LAYOUTS: list[tuple[Size, Theme]] = [("desktop", "light"), ("phone", "dark")]


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("Key", exact=True).fill(key)
    await page.get_by_role("button", name="Sign in").click()


async def test_a_server_without_keys_asks_for_no_sign_in(open_page: OpenPage, inspect: Inspect) -> None:
    async with open_page() as watched:
        await watched.page.goto("/ui/sign-in?return_to=/ui/nothing")
        await expect(watched.page.get_by_text("ci keys create --admin")).to_be_visible()
        await inspect(watched.page, "sign-in-open-desktop-light")
        await watched.page.get_by_role("link", name="Continue").click()
        await expect(watched.page).to_have_url(f"{watched.origin}/ui/nothing")


@pytest.mark.parametrize(("size", "theme"), LAYOUTS)
async def test_it_leads_to_where_one_wanted_to_go(
    open_page: OpenPage, inspect: Inspect, admin_key: str, size: Size, theme: Theme
) -> None:
    async with open_page(size=size, theme=theme) as watched:
        page, watched.allowed_errors = watched.page, REFUSED
        await page.goto("/ui/nothing/here?tab=a%20b&x=1&x=%26#L3")
        await inspect(page, f"sign-in-asked-{size}-{theme}")
        assert await page.get_by_role("navigation").count() == 0
        await sign_in(page, "ci_wrong")
        await expect(page.get_by_role("alert")).to_contain_text("key")
        await expect(page.get_by_label("Key", exact=True)).to_have_value("ci_wrong")
        await inspect(page, f"sign-in-refused-{size}-{theme}")
        await sign_in(page, admin_key)
        await expect(page).to_have_url(f"{watched.origin}/ui/nothing/here?tab=a%20b&x=1&x=%26#L3")
        menu = page.get_by_role("button", name="Signed in as")
        await menu.click()
        await inspect(page, f"account-menu-{size}-{theme}")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.goto("/ui/")
        await expect(page).to_have_url(f"{watched.origin}/ui/sign-in")


async def test_a_sign_in_that_failed_elsewhere_is_told_and_not_begun_again(
    open_page: OpenPage, inspect: Inspect, admin_key: str
) -> None:
    async with open_page() as watched:
        page = watched.page
        await page.goto("/ui/sign-in?error=denied&return_to=https://example.org/ui/")
        await expect(page.get_by_role("alert").first).to_contain_text("You, or the issuer, have refused it.")
        await inspect(page, "sign-in-failed-desktop-light")
        await page.goto("/ui/sign-in?error=<img src=x onerror=alert(1)>&return_to=//example.org/ui/")
        await expect(page.get_by_role("alert").first).to_contain_text("The issuer has answered with an error.")
        await sign_in(page, admin_key)
        await expect(page).to_have_url(f"{watched.origin}/ui/")
        await page.goto("/ui/sign-in")
        await expect(page.get_by_role("heading", name="You are signed in as")).to_be_visible()


async def test_a_browser_without_cookies_does_not_go_in_circles(open_page: OpenPage, admin_key: str) -> None:
    async with open_page() as watched:
        page = watched.page

        async def without_cookie(route: Route) -> None:
            answer = await route.fetch()
            await page.context.clear_cookies()
            await route.fulfill(status=answer.status, json=await answer.json())

        await page.route("**/session", without_cookie)
        await page.goto("/ui/")
        await sign_in(page, admin_key)
        await expect(page.get_by_role("alert")).to_contain_text("has not kept the cookie")
        await expect(page).to_have_url(f"{watched.origin}/ui/sign-in")


async def test_a_session_that_ends_leaves_the_page_as_it_is(
    open_page: OpenPage, inspect: Inspect, admin_key: str, service: Service
) -> None:
    async with open_page() as watched:
        page, watched.allowed_errors = watched.page, REFUSED
        await page.goto("/ui/sign-in")
        await sign_in(page, admin_key)
        await expect(page.get_by_text("There are no jobs yet.")).to_be_visible()
        with service.client(headers={"Authorization": f"Bearer {admin_key}"}) as client:
            for key in client.get("/keys").json():
                if key["name"].startswith("browser of"):
                    assert client.delete(f"/keys/{key['id']}").status_code == httpx.codes.NO_CONTENT
        await page.get_by_role("link", name="Queue").click()
        await expect(page.get_by_role("alert").first).to_contain_text("You are not signed in any more.")
        await inspect(page, "session-ended-desktop-light")
        await page.get_by_role("button", name="Sign in again").click()
        await inspect(page, "session-ended-dialog-desktop-light")
        await page.get_by_role("dialog").get_by_label("Key", exact=True).fill(admin_key)
        await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        await expect(page.get_by_text("You are not signed in any more.")).to_have_count(0)
        await expect(page).to_have_url(f"{watched.origin}/ui/queue")


PREFIX = "/team/ci"


@pytest.fixture
async def behind_a_path(settings: dict[str, str]) -> None:
    settings["CI_ROOT_PATH"] = PREFIX


@pytest.fixture
async def proxy(behind_a_path: None, service: Service, tmp_path: Path) -> AsyncIterator[str]:
    with held_port() as port:
        nginx = Nginx(tmp_path / "nginx", port, service.url, "proxy_set_header Host $http_host;")
        await nginx.start()
        yield nginx.url
        nginx.kill()


async def test_it_works_below_a_path(proxy: str, browser: Browser, admin_key: str) -> None:
    async with watched_page(browser, proxy) as watched:
        page = watched.page
        await page.goto(f"{PREFIX}/ui/nothing?tab=1")
        await sign_in(page, admin_key)
        await expect(page).to_have_url(f"{proxy}{PREFIX}/ui/nothing?tab=1")
        await page.goto(f"{PREFIX}/ui/sign-in?return_to={PREFIX}/ui/elsewhere")
        await page.get_by_role("link", name="Continue").click()
        await expect(page).to_have_url(f"{proxy}{PREFIX}/ui/elsewhere")
