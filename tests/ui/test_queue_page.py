"""The page of the queue and the machine."""

import asyncio

import pytest
from playwright.async_api import Route

from ci_client.aio import CiClient
from tests.helpers.service import Service, finished, until, waits_for
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage

LONG_NAME = "a-project-with-a-name-" + "that-goes-on-" * 12
CACHED = {
    "command": "mkdir -p store && echo kept > store/file",
    "cache": [{"path": "store", "key": "store-1"}],
    "project": "shop",
}


def endless(project: str | None = None, **more: object) -> dict[str, object]:
    return {"command": "echo running; sleep 600", "project": project, **more}


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return {**settings, "MAX_CONCURRENCY": "1"}


async def fill(client: CiClient) -> list[str]:
    """Leave a cache, and have one job run and others wait."""
    await finished(client, await client.create_job(CACHED))
    jobs = [endless("shop"), endless("shop"), endless("shop", priority=5), endless(), endless(LONG_NAME)]
    ids = [await client.create_job(job) for job in jobs[:1]]
    await until(client, ids[0], lambda event: event["type"] == "log")
    ids += [await client.create_job(job) for job in jobs[1:]]
    await asyncio.gather(*(until(client, job, waits_for("waiting_for_slot")) for job in ids[1:]))
    return ids


async def test_what_waits_and_runs_is_shown_as_it_changes(
    service: Service, open_page: OpenPage, inspect: Inspect
) -> None:
    async with open_page() as watched, CiClient(service.url) as client:
        page = watched.page
        await page.goto("/ui/queue")
        await page.get_by_text("No job waits.").wait_for()
        await inspect(page, "queue-empty-desktop-light")
        ids = await fill(client)
        # The page asks again by itself.
        waiting = page.get_by_role("region", name="Waiting", exact=True).get_by_role("row")
        await waiting.nth(4).wait_for()
        first = waiting.nth(1)
        assert ids[2][-8:] in await first.inner_text(), "the job with the highest priority is the first"
        assert "1 of 1 slots taken" in await page.get_by_role("region", name="Now").inner_text()
        assert "slot" in await first.inner_text()
        running = page.get_by_role("region", name="Running", exact=True)
        assert ids[0][-8:] in await running.inner_text()
        await page.get_by_text("store-1").wait_for()
        await inspect(page, "queue-busy-desktop-light")
        await page.get_by_role("button", name="Delete the cache of store").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
        await page.get_by_text("No cache is kept.").wait_for()


async def add_services(route: Route) -> None:
    """Answer as if the jobs that run had services, for which it takes containers."""
    answer = await route.fetch()
    jobs = [job | {"services": {"db": "postgres:16", "cache": "redis:7"}} for job in await answer.json()]
    await route.fulfill(response=answer, json=jobs)


async def test_every_size_and_theme(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    async with CiClient(service.url) as client:
        await fill(client)
    looks: list[tuple[Size, Theme]] = [("desktop", "dark"), ("phone", "light"), ("phone", "dark")]
    for size, theme in looks:
        async with open_page(size=size, theme=theme) as watched:
            await watched.page.route("**/jobs?*status=running*", add_services)
            await watched.page.goto("/ui/queue")
            await watched.page.get_by_text("store-1").wait_for()
            await watched.page.get_by_text("beside it db: postgres:16").wait_for()
            await watched.page.get_by_text("are kept back: with less, no new work starts").first.wait_for()
            await inspect(watched.page, f"queue-busy-{size}-{theme}")
            await watched.page.unroute_all(behavior="wait")
