"""The view of a log: where it opens, that it does not move by itself, what is copied, and that it shows every byte."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Page, expect

from tests.helpers.service import Service
from tests.helpers.waiting import PATIENCE
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage

STEPS: Final[list[dict[str, Any]]] = [
    {
        "name": "build",
        "run": r"""printf 'plain\n\033[31mred\033[0m \033[38:2::255:100:0mtrue colour\033[0m'
printf ' \033[48;5;226mon yellow\033[0m\n\033]8;;https://example.com/x\033\\a link\033]8;;\033\\ and '
printf '\033]8;;javascript:alert(1)\033\\none\033]8;;\033\\\n'
printf '10%%\r50%%\r100%%\n\377\376 is not UTF-8\n  two spaces, a\ttab  \n<img src=x onerror=alert(1)>\n'
head -c 1000000 /dev/zero | tr '\0' x; echo""",
    },
    {"name": "test", "run": "seq 1 3000; echo 'AssertionError: one is not two'; seq 1 100; exit 3"},
]


def completed(service: Service, **job: Any) -> dict[str, Any]:
    """Submit a job, and return it once it has completed."""
    with service.client() as client:
        job_id = client.post("/jobs", json=job).raise_for_status().json()["job_id"]
        deadline = time.monotonic() + PATIENCE
        with client.stream("GET", f"/jobs/{job_id}/stream") as events:
            for line in events.iter_lines():
                assert time.monotonic() < deadline
                if '"type":"complete"' in line:
                    break
        found: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        return found


async def open_log(page: Page, job_id: str, rest: str = "") -> None:
    await page.goto(f"/ui/jobs/{job_id}/log{rest}")
    await page.locator("[data-line] [data-text]:not(:empty)").first.wait_for()


async def copied(page: Page, first: int, last: int) -> str:
    """Select lines, with all that stands beside them, and return what a copy of them has."""
    await page.evaluate(
        """lines => {
            const [first, last] = lines.map((line) => document.querySelector(`[data-line='${line}']`));
            getSelection().setBaseAndExtent(first, 0, last, last.childNodes.length);
        }""",
        [first, last],
    )
    await page.keyboard.press("Control+C")
    return str(await page.evaluate("navigator.clipboard.readText()"))


@pytest.mark.parametrize(("theme", "size"), [("light", "desktop"), ("dark", "phone")])
async def test_a_failed_job_opens_where_it_failed(
    service: Service, open_page: OpenPage, inspect: Inspect, theme: Theme, size: Size
) -> None:
    job = completed(service, steps=STEPS)
    async with open_page(theme=theme, size=size) as watched:
        page = watched.page
        await open_log(page, job["job_id"])
        await expect(page.get_by_text("AssertionError: one is not two")).to_be_in_viewport()
        await expect(page.get_by_text("✓ Verified")).to_be_visible()
        await inspect(page, f"log-failed-{size}-{theme}")
        await page.get_by_role("button", name="Top").click()
        await expect(page.locator("[data-line='4']")).to_have_text("100%")
        await expect(page.locator("[data-line='5']")).to_have_text("\ufffd\ufffd is not UTF-8")
        assert await page.locator("[data-line='3'] [data-text] a").evaluate_all("links => links.map(a => a.href)") == [
            "https://example.com/x"
        ]
        await inspect(page, f"log-colours-{size}-{theme}")


async def test_lines_are_linked_and_copied_as_they_are(service: Service, open_page: OpenPage) -> None:
    job = completed(service, steps=STEPS)
    async with open_page(permissions=["clipboard-read", "clipboard-write"]) as watched:
        page = watched.page
        await open_log(page, job["job_id"], "#L2000-L2001")
        await expect(page.locator("[data-line='2000']")).to_be_in_viewport()
        assert await page.locator("[data-selected]").evaluate_all("rows => rows.map(row => row.dataset.line)") == [
            "2000",
            "2001",
        ]
        await page.get_by_role("button", name="Top").click()
        await page.locator("[data-line='6'] a[data-number]").click()
        await page.locator("[data-line='7'] a[data-number]").click(modifiers=["Shift"])
        await expect(page).to_have_url(re.compile(re.escape("#L6-L7") + "$"))
        await page.get_by_role("button", name="More").click()
        await page.get_by_role("button", name="Copy lines").click()
        await expect(page.get_by_text("Copied")).to_be_visible()
        lines = "  two spaces, a\ttab  \n<img src=x onerror=alert(1)>\n"
        assert await page.evaluate("navigator.clipboard.readText()") == lines
        await page.keyboard.press("Escape")
        assert await copied(page, 6, 7) == lines.rstrip("\n")


@pytest.mark.parametrize(("theme", "size"), [("light", "desktop"), ("dark", "phone")])
async def test_lines_have_their_times_if_the_reader_wants_them(
    service: Service, open_page: OpenPage, inspect: Inspect, tmp_path: Path, theme: Theme, size: Size
) -> None:
    command = f"echo first; until [ -e {tmp_path}/go ]; do sleep 0.05; done; seq -f 'line %.0f' 2 40"
    with service.client() as client:
        job_id = client.post("/jobs", json={"command": command}).json()["job_id"]
        async with open_page(theme=theme, size=size, permissions=["clipboard-read", "clipboard-write"]) as watched:
            page = watched.page
            await open_log(page, job_id)
            await page.get_by_role("button", name="Times").click()
            time_of = page.locator("[data-line='1'] time")
            await expect(time_of).to_have_attribute("data-time", re.compile(r"^\d\d:\d\d:\d\d\.\d$"))
            (tmp_path / "go").touch()
            await page.reload()  # The choice is kept.
            await expect(page.locator("[data-line='40'] time")).to_be_in_viewport()
            told = client.get(f"/jobs/{job_id}/log/times").json()["times"]
            assert len(told) > 1
            for line, entry in ((1, told[0]), (40, told[-1])):
                local = datetime.fromisoformat(entry["time"]).astimezone(ZoneInfo("Europe/Berlin"))
                words = f"{local:%H:%M:%S}.{local.microsecond // 100_000}"
                await expect(page.locator(f"[data-line='{line}'] time")).to_have_attribute("data-time", words)
            await inspect(page, f"log-times-{size}-{theme}")
            assert await copied(page, 1, 2) == "first\nline 2"


async def test_steps_fold_and_are_linked(service: Service, open_page: OpenPage) -> None:
    job = completed(service, steps=STEPS)
    async with open_page() as watched:
        page = watched.page
        await open_log(page, job["job_id"], "?step=test")
        step = page.get_by_role("button", name="test failed, exit status 3")
        await expect(step).to_be_in_viewport()
        await step.click()
        await expect(page.locator("[data-line='9']")).to_have_count(0)
        await step.click()
        await expect(page.locator("[data-line='9']")).to_have_text("1")


async def test_the_reader_is_not_moved_while_the_log_grows(
    service: Service, open_page: OpenPage, tmp_path: Path
) -> None:
    command = f"seq 1 2000; until [ -e {tmp_path}/go ]; do sleep 0.05; done; seq 2001 60000; sleep 60"
    with service.client() as client:
        job_id = client.post("/jobs", json={"command": command}).json()["job_id"]
        async with open_page() as watched:
            page = watched.page
            await open_log(page, job_id)
            await expect(page.locator("[data-line='2000']")).to_be_in_viewport()
            await page.locator("[role=region]").hover()
            await page.mouse.wheel(0, -5_005)
            top = page.locator("[data-line='1700']")
            await expect(top).to_be_in_viewport()
            before = await top.bounding_box()
            (tmp_path / "go").touch()
            await expect(page.get_by_text("of 60,000")).to_be_visible()
            assert await top.bounding_box() == before
            await page.get_by_role("button", name="Follow").click()
            await expect(page.locator("[data-line='60000']")).to_be_in_viewport()
        client.delete(f"/jobs/{job_id}")


async def test_all_lines_are_searched_as_they_are_shown(
    service: Service, open_page: OpenPage, inspect: Inspect
) -> None:
    job = completed(service, command=r"seq -f 'line %.0f' 1 200000; printf 'the \033[31mla\033[0mst line\n'; seq 1 100")
    async with open_page() as watched:
        page = watched.page
        await open_log(page, job["job_id"], "#L1")
        await page.keyboard.press("Control+F")
        await page.keyboard.type("the last")
        await expect(page.get_by_text("1 of 1", exact=True)).to_be_visible()
        await expect(page.locator("[data-line='200001']")).to_be_in_viewport()
        await expect(page).to_have_url(re.compile(re.escape("?find=the+last#L200001") + "$"))
        await page.get_by_role("button", name="Regular expression").click()
        await page.get_by_role("searchbox").fill("^line 1999[89]9$")
        # The first match from the top of the window on is shown, and after the last one comes the first.
        await expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("1 of 2", exact=True)).to_be_visible()
        await expect(page.locator("[data-line='199989']")).to_be_in_viewport()
        await inspect(page, "log-search-desktop-light")
