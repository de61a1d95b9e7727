"""The list of projects, and the page of one."""

import re

import pytest
from playwright.async_api import expect

from ci_client.aio import CiClient
from tests.helpers.service import Service
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage
from tests.ui.reported_jobs import reported, run

LONG_NAME = "team/a project & <b>all</b> " + "that-goes-on-" * 9
GOOD = {"adds up": (True, 0.2), "ships": (True, 3.5)}
BAD = {"adds up": (False, 0.2), "ships": (True, 3.9)}


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return {**settings, "CI_QUOTA_RUNNING": "4"}


async def fill(service: Service) -> list[str]:
    """Run jobs of two projects, and return the ids of those of the first."""
    with service.client() as http:
        http.post(
            "/projects", json={"name": "shop", "description": "The shop, as customers see it."}
        ).raise_for_status()
    async with CiClient(service.url) as client:
        ids = [
            await run(client, reported(tests, covered=covered)) for tests, covered in ((GOOD, 6), (BAD, 7), (GOOD, 9))
        ]
        await run(client, {"command": "true", "project": LONG_NAME})
    return ids


async def test_a_project_is_found_whose_only_job_has_waited_for_long(service: Service, open_page: OpenPage) -> None:
    async with open_page() as watched, CiClient(service.url) as client:
        await client.create_job({"command": "sleep 600", "project": "patient"})
        for _ in range(100):
            await client.create_job({"type": "echo", "payload": {}, "project": "busy"})
        await watched.page.goto("/ui/projects")
        await watched.page.get_by_role("row", name="busy").wait_for()
        await watched.page.get_by_role("row", name="patient").wait_for()


async def test_from_the_list_to_a_job(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    async with open_page() as watched:
        page = watched.page
        await page.goto("/ui/projects")
        await page.get_by_text("There are no projects yet.").wait_for()
        await inspect(page, "projects-empty-desktop-light")
        ids = await fill(service)
        await page.reload()
        await page.get_by_role("row", name="shop Succeeded").get_by_text("2 of 3").wait_for()
        await inspect(page, "projects-some-desktop-light")

        await page.get_by_label("Find a project").fill("ALL")
        await expect(page).to_have_url(re.compile(re.escape("?q=ALL") + "$"))
        await page.get_by_role("link", name=LONG_NAME).click()
        await page.get_by_role("heading", name=LONG_NAME, level=1).wait_for()
        await page.get_by_text("This project was not created").wait_for()
        await inspect(page, "project-bare-desktop-light")
        await page.go_back()
        assert await page.get_by_label("Find a project").input_value() == "ALL"

        await page.goto("/ui/projects/shop")
        await page.get_by_text("The shop, as customers see it.").wait_for()
        await page.get_by_text("66.7 %").wait_for()
        await page.get_by_text("90.0 % in the last job").wait_for()
        await page.get_by_text("0 of 4", exact=True).wait_for()
        failing = page.get_by_role("group", name="Failing tests").get_by_role("row").nth(1)
        assert "adds up" in await failing.inner_text()
        assert "1 of 3" in await failing.inner_text()
        slowest = page.get_by_role("group", name="Slowest tests").get_by_role("row").nth(1)
        assert "ships" in await slowest.inner_text()
        assert "3.9 s" in await slowest.inner_text()
        await page.get_by_text("The same as a table").click()
        assert await page.get_by_role("group", name="Duration and success").get_by_role("row").count() == 4
        await inspect(page, "project-full-desktop-light")

        await page.get_by_role("link", name="The last 100").click()
        await expect(page).to_have_url(re.compile(re.escape("/projects/shop?jobs=100") + "$"))
        await page.locator(f'figure a[href$="/jobs/{ids[1]}"]').first.click()
        await page.wait_for_url(f"**/jobs/{ids[1]}")


async def test_every_size_and_theme(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    await fill(service)
    looks: list[tuple[Size, Theme]] = [("desktop", "dark"), ("phone", "light"), ("phone", "dark")]
    for size, theme in looks:
        async with open_page(size=size, theme=theme) as watched:
            await watched.page.goto("/ui/projects")
            await watched.page.get_by_text("2 of 3").wait_for()
            await inspect(watched.page, f"projects-some-{size}-{theme}")
            await watched.page.goto("/ui/projects/shop")
            await watched.page.get_by_text("90.0 % in the last job").wait_for()
            await watched.page.get_by_role("group", name="Slowest tests").wait_for()
            await inspect(watched.page, f"project-full-{size}-{theme}")
