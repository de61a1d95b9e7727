"""The list of jobs: what it shows, how it is narrowed, and what is done with many of them."""

import re

import httpx
import pytest
from playwright.async_api import expect

from tests.helpers.service import Service
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage
from tests.ui.sample_jobs import ENDLESS, FAILED, LONG_NAME, SUCCEEDED, TIMED_OUT, submit, wait_for


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return settings | {"MAX_CONCURRENCY": "2"}


def fill(client: httpx.Client) -> None:
    """Make a job in each state: two that run take all slots, so that others wait."""
    for spec in (FAILED, SUCCEEDED | {"labels": {"name": LONG_NAME, "branch": "main"}}, TIMED_OUT):
        wait_for(client, submit(client, spec))
    cancelled = submit(client, ENDLESS)
    client.post(f"/jobs/{cancelled}/cancel")
    wait_for(client, cancelled)
    for _ in range(2):
        wait_for(client, submit(client, ENDLESS), "running")
    for number in range(3):
        submit(client, ENDLESS | {"labels": {"name": f"waiting {number}", "set": "waiting"}})


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
async def test_jobs_are_listed_narrowed_and_changed_together(
    service: Service, open_page: OpenPage, inspect: Inspect, size: Size, theme: Theme
) -> None:
    with service.client() as client:
        fill(client)
        async with open_page(size=size, theme=theme) as watched:
            page, name = watched.page, f"{size}-{theme}"
            rows = page.locator("[data-job]")
            await page.goto("/ui/")
            await expect(rows).to_have_count(9)
            await page.get_by_text("1 of 4 failed").wait_for()
            await inspect(page, f"jobs-{name}")

            await page.get_by_label("State").select_option("failed")
            await expect(rows).to_have_count(1)
            await expect(page).to_have_url(re.compile(re.escape("?state=failed") + "$"))
            await page.get_by_label("Search").fill("nothing has this")
            await page.get_by_role("heading", name="No job matches").wait_for()
            await inspect(page, f"jobs-no-match-{name}")
            await page.get_by_role("button", name="Save this view").click()
            await page.get_by_label("Name").fill("never")
            await page.get_by_role("button", name="Save", exact=True).click()
            await page.get_by_role("link", name="Show all jobs").click()
            await expect(rows).to_have_count(9)
            await page.get_by_role("link", name="never").click()
            await expect(page.get_by_label("Search")).to_have_value("nothing has this")
            await page.go_back()
            await expect(rows).to_have_count(9)

            await page.get_by_role("textbox", name="Label").fill("set:waiting")
            await page.get_by_role("button", name="Add").click()
            await expect(rows).to_have_count(3)
            await page.get_by_label("Select waiting 2").check()
            await page.get_by_label("Select waiting 0").click(modifiers=["Shift"])
            await page.get_by_text("3 jobs selected").wait_for()
            gone = submit(client, SUCCEEDED | {"labels": {"set": "waiting"}})
            await page.get_by_role("button", name="Select all that match").click()
            await page.get_by_text("All 4 jobs that match are selected").wait_for()
            await page.get_by_role("button", name="Cancel", exact=True).click()
            await page.get_by_role("heading", name="Cancel 4 jobs?").wait_for()
            await inspect(page, f"jobs-cancel-asked-{name}")
            watched.allowed_errors = ("409",)
            # Another reader is faster: one of them cannot be cancelled any more.
            client.delete(f"/jobs/{gone}")
            wait_for(client, gone)
            await page.get_by_role("button", name="Cancel 4 jobs").click()
            await page.get_by_text("3 jobs cancelled").wait_for()
            await page.get_by_text("1 job could not be changed").wait_for()
            await inspect(page, f"jobs-cancelled-{name}")


async def test_the_list_is_used_by_keys_and_is_live(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    with service.client() as client:
        first, second = submit(client, SUCCEEDED), submit(client, SUCCEEDED)
        wait_for(client, first)
        wait_for(client, second)
        async with open_page() as watched:
            page = watched.page
            await page.goto("/ui/")
            await expect(page.locator("[data-job]")).to_have_count(2)
            await page.keyboard.press("?")
            await page.get_by_role("heading", name="Keys of this page").wait_for()
            await inspect(page, "jobs-keys")
            await page.keyboard.press("Escape")
            for key in ("j", "j", "x", "k", "j", "r"):
                await page.keyboard.press(key)
            await page.get_by_role("heading", name="Run 1 job again?").wait_for()
            await page.keyboard.press("Escape")
            await page.keyboard.press("/")
            await page.keyboard.type("x")
            await expect(page.get_by_label("Search")).to_have_value("x")
            await page.get_by_label("Search").fill("")
            await expect(page.locator("[data-job]")).to_have_count(2)
            submit(client, SUCCEEDED)
            await expect(page.locator("[data-job]")).to_have_count(3)
            await page.keyboard.press("Escape")
            for key in ("j", "j", "j", "Enter"):
                await page.keyboard.press(key)
            await page.get_by_text("It has succeeded.").wait_for()
            await expect(page).to_have_url(re.compile(re.escape(first) + "$"))


async def test_pages_of_a_long_list(service: Service, open_page: OpenPage) -> None:
    with service.client() as client:
        for number in range(51):
            submit(client, {"type": "echo", "payload": {"number": number}, "labels": {"name": f"job {number}"}})
        async with open_page() as watched:
            page = watched.page
            await page.goto("/ui/?q=number")
            await page.get_by_role("link", name="Older jobs").click()
            await expect(page.locator("[data-job]")).to_have_count(1)
            await page.get_by_role("link", name="job 0", exact=True).wait_for()
            await page.get_by_role("link", name="Newest jobs").click()
            await page.get_by_role("link", name="job 50").wait_for()
