"""The way of a new user on the page: from a folder that is dropped to a link to the line of the test that failed."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.helpers.service import Service, tree
from tests.ui.browser import watched_page
from tests.ui.conftest import OpenPage

_REPORT = """
import os

print("collecting\\n" * 300)
print("FAILED tests/test_cart.py::test_total - assert 2 == 3")
with open(os.environ["CI_REPORTS"] + "/tests.xml", "w") as report:
    report.write(
        '<testsuite name="shop"><testcase classname="tests.test_cart" file="tests/test_cart.py" name="test_total">'
        '<failure message="assert 2 == 3">tests/test_cart.py:7: AssertionError</failure></testcase>'
        '<testcase classname="tests.test_cart" name="test_empty"/></testsuite>'
    )
raise SystemExit(1)
"""


async def drop(page: Page, path: Path, where: str) -> None:
    """Drop a file or folder of this machine onto an element, as a reader does from a file manager."""
    box = await page.locator(where).bounding_box()
    assert box is not None
    session = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 10}
        await session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {"ci.yaml": "steps:\n  - run: python3 check.py\n", "check.py": _REPORT, "src/deep/a.txt": "a"}
    return tree(tmp_path / "shop", files)


async def test_from_a_folder_to_a_link_to_the_failing_line_in_at_most_seven_clicks(
    service: Service, browser: Browser, open_page: OpenPage, project: Path
) -> None:
    async with open_page() as watched:
        page = watched.page
        await page.add_init_script(
            "addEventListener('click', () => sessionStorage.clicks = 1 + Number(sessionStorage.clicks ?? 0), true)"
        )
        await page.goto("/")
        await page.get_by_role("link", name="Submit").first.click()
        await page.get_by_text("Drop a folder here").wait_for()
        await drop(page, project, "main form > div")
        await expect(page.get_by_text("will be sent")).to_contain_text("3 files")
        await page.get_by_role("button", name="Submit").click()
        await page.wait_for_url("**/ui/jobs/*")
        await page.get_by_role("link", name="in the log").first.click()
        failed = failing_line(page)
        await expect(failed).to_be_in_viewport()
        await failed.locator("a[data-number]").click()
        await expect(failed).to_have_attribute("data-selected", "true")
        link = page.url
        assert int(await page.evaluate("sessionStorage.clicks")) <= 7
    async with watched_page(browser, service.url) as colleague:
        await colleague.page.goto(link)
        await expect(failing_line(colleague.page)).to_be_in_viewport()
        await expect(failing_line(colleague.page)).to_have_attribute("data-selected", "true")


def failing_line(page: Page) -> Locator:
    return page.locator("[data-line]", has_text="FAILED tests/test_cart.py::test_total")


async def test_a_file_that_is_dropped_is_no_folder(open_page: OpenPage, project: Path) -> None:
    async with open_page() as watched:
        await watched.page.goto("/ui/submit")
        await watched.page.get_by_text("Drop a folder here").wait_for()
        await drop(watched.page, project / "ci.yaml", "main form > div")
        await expect(watched.page.get_by_role("alert")).to_contain_text("That is not a folder")
