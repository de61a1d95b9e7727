"""The page that compares two jobs."""

from ci_client.aio import CiClient
from tests.helpers.service import Service
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage
from tests.ui.reported_jobs import reported, run

BEFORE = {
    "stays": (True, 0.1),
    "breaks": (True, 0.1),
    "heals": (False, 0.1),
    "slows down": (True, 0.2),
    "goes": (True, 0),
}
AFTER = {
    "stays": (True, 0.1),
    "breaks": (False, 0.1),
    "heals": (True, 0.1),
    "slows down": (True, 2),
    "comes": (True, 0),
}


async def fill(client: CiClient) -> tuple[str, str]:
    """Run two jobs that differ in all that is compared, and return their ids."""
    before = reported(BEFORE, covered=6)
    after = reported(AFTER, covered=8)
    after |= {"env": {"GREETING": "good morning, " * 30}, "labels": {"name": "later"}}
    return await run(client, before), await run(client, after)


async def test_two_jobs_are_chosen_and_compared(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    async with CiClient(service.url) as client:
        before, after = await fill(client)
    async with open_page() as watched:
        page = watched.page
        await page.goto("/ui/compare?project=shop")
        await page.get_by_text("Two jobs have to be chosen").wait_for()
        await page.get_by_label("The job before").select_option(before)
        await inspect(page, "compare-choose-desktop-light")
        await page.get_by_label("The job after").select_option(after)
        await page.get_by_role("button", name="Compare").click()
        cases = page.get_by_role("group", name="Tests that changed").get_by_role("row")
        await cases.nth(5).wait_for()
        told = [(await row.inner_text()).split() for row in (await cases.all())[1:]]
        assert [words[:2] for words in told] == [
            ["Broken", "breaks"],
            ["Fixed", "heals"],
            ["Slower", "slows"],
            ["New", "comes"],
            ["Gone", "goes"],
        ]
        differs = page.get_by_role("group", name="What differs")
        assert "good morning" in await differs.get_by_role("row", name="GREETING").first.inner_text()
        await page.get_by_text("60.0 % before, 80.0 % after: +20.0 percentage points.").wait_for()
        artifact = page.get_by_role("group", name="Artifacts that differ").get_by_role("row").nth(1)
        assert "dist/covered.txt" in await artifact.inner_text()
        await page.get_by_role("group", name="Where the time went").get_by_text("Step test").wait_for()
        await inspect(page, "compare-two-desktop-light")
        await page.get_by_role("link", name="Swap").click()
        await page.wait_for_url(f"**/compare?a={after}&b={before}&project=shop")
        await page.get_by_text("80.0 % before, 60.0 % after:").wait_for()
        looks: list[tuple[Size, Theme]] = [("desktop", "dark"), ("phone", "light"), ("phone", "dark")]
        for size, theme in looks:
            async with open_page(size=size, theme=theme) as other:
                await other.page.goto(f"/ui/compare?a={before}&b={after}")
                await other.page.get_by_role("group", name="Artifacts that differ").wait_for()
                await other.page.get_by_text("60.0 % before").wait_for()
                await inspect(other.page, f"compare-two-{size}-{theme}")


async def test_a_job_that_is_not_there_is_told(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    gone = "01890000-0000-7000-8000-000000000000"
    async with open_page() as watched:
        watched.allowed_errors = ("404",)
        await watched.page.goto(f"/ui/compare?a={gone}&b={gone}")
        await watched.page.get_by_role("alert").first.wait_for()
        await inspect(watched.page, "compare-gone-desktop-light")
