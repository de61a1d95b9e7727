"""The page for browsers: a log of ten million lines, and one that grows by 200,000 lines a second."""

from typing import Any, Final

from playwright.async_api import Browser, Error

from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, LeftOut, Series
from bench.pages import frame_gaps, fresh_page, is_exact, opening, rendering_each_line, searching, tab_memory
from bench.served import served
from ci_client.aio import CiClient
from tests.helpers.service import Service
from tests.helpers.waiting import eventually
from tests.ui.browser import running_browser

NAME = "page"
TITLE = "The page: a log of 10,000,000 lines in a browser"
OURS: Final = "our page"
GRID: Final = "a grid of all lines"
_LINE: Final = "the quick brown fox jumps over the lazy dog, again and again, until the line is long enough"
_WRITER: Final = """
import sys, time
lines, rate = {lines}, {rate}
begun = time.monotonic()
for first in range(1, lines + 1, 20_000):
    last = min(first + 20_000, lines + 1)
    sys.stdout.write("".join(f"{{number}}: {text}\\n" for number in range(first, last)))
    sys.stdout.flush()
    if rate:
        time.sleep(max(0.0, begun + last / rate - time.monotonic()))
"""


async def measure(lab: Lab) -> list[Figure]:
    """Measure our page in Debian's Chromium, and a page with three elements for each line beside it."""
    lines = lab.samples(10_000_000, 1_000_000)
    few = lab.samples(100_000, 25_000)
    place = lab.directory / "page"
    place.mkdir()
    settings = {"CI_MAX_LOG_BYTES": "4g"}
    with served(place, **settings) as service:
        large, small = [await completed(service, writing(count)) for count in (lines, few)]
    try:
        async with running_browser() as browser:
            figures = []
            for _ in range(lab.samples(5, 2)):
                with served(place, **settings) as service:
                    figures.append(await opened(browser, service, large, lines))
            with served(place, **settings) as service:
                return [
                    *_openings(figures),
                    *await moved(lab, browser, service, large, lines),
                    await compared(lab, browser, service, small, few),
                    *await grown(lab, browser, service),
                ]
    except Error as exc:
        raise LeftOut(f"the browser failed: {exc}") from exc
    finally:
        lab.note(
            f'The large log has {lines:,} lines of about {len(_LINE) + 9} bytes. "Cold" is the first page that '
            "shows it after a start of the server, which knows nothing of its lines then; everything is measured "
            "from the navigation to the text in the page, with an empty cache. Beside it, a page has three elements "
            "for each line, as pages of other systems have; loading the text is not counted there. Memory is what "
            "the tab's process shares with none."
        )


def writing(lines: int, rate: int = 0) -> dict[str, Any]:
    """Return a job that writes so many lines, at most `rate` in a second."""
    return {"command": ["python3", "-c", _WRITER.format(lines=lines, rate=rate, text=_LINE)], "limits": {"log": "3g"}}


async def completed(service: Service, job: dict[str, Any]) -> str:
    """Return the id of a job that has succeeded."""
    async with CiClient(service.url) as client:
        job_id = await client.create_job(job)

        async def end() -> dict[str, Any] | None:
            found = await client.get_job(job_id)
            return found if found["status"] == "completed" else None

        found = await eventually(end, "the log is written", timeout=600)
    assert found["success"], found["reason"]
    return job_id


async def opened(browser: Browser, service: Service, job_id: str, lines: int) -> tuple[float, float, float]:
    """Return the milliseconds to open the end cold, the end again, and a line in the middle."""
    path = f"/ui/jobs/{job_id}/log"
    taken = []
    for where, line in (("", lines), ("", lines), (f"#L{lines // 2}", lines // 2)):
        async with fresh_page(browser, service.url) as page:
            taken.append(await opening(page, f"{path}{where}", line))
    cold, again, middle = taken
    return cold, again, middle


def _openings(taken: list[tuple[float, float, float]]) -> list[Figure]:
    cold, again, middle = zip(*taken, strict=True)
    return [
        Figure("page.end.cold", "open at the end, cold", "ms", Better.LESS, Series(OURS, cold)),
        Figure("page.end", "open at the end", "ms", Better.LESS, Series(OURS, again)),
        Figure("page.middle", "open at a linked line in the middle", "ms", Better.LESS, Series(OURS, middle)),
    ]


async def moved(lab: Lab, browser: Browser, service: Service, job_id: str, lines: int) -> list[Figure]:
    """Scroll through the log and search all of it, in one tab, whose memory is taken at the end."""
    async with fresh_page(browser, service.url) as page:
        await opening(page, f"/ui/jobs/{job_id}/log#L{lines // 2}", lines // 2)
        gaps, blank = await frame_gaps(page, 3_000, pixels=400)
        searches = [await searching(page, f"{lines - number}: the quick", 1) for number in range(lab.samples(3, 1))]
        memory = tab_memory()
    return [
        Figure("page.scroll", "scrolling: from frame to frame", "ms", Better.LESS, Series(OURS, tuple(gaps))),
        Figure("page.blank", "the same: visible lines without text", "%", Better.LESS, Series(OURS, (blank,))),
        Figure("page.search", "search all of it", "s", Better.LESS, Series(OURS, tuple(searches))),
        Figure("page.memory", "memory of the tab", "MB", Better.LESS, Series(OURS, (memory,))),
    ]


async def compared(lab: Lab, browser: Browser, service: Service, job_id: str, lines: int) -> Figure:
    """Open a smaller log here, and as a grid of all lines, in turns."""
    ours, grid = [], []
    for _ in range(lab.samples(5, 2)):
        async with fresh_page(browser, service.url) as page:
            ours.append(await opening(page, f"/ui/jobs/{job_id}/log", lines))
        async with fresh_page(browser) as page:
            grid.append(await rendering_each_line(page, lines))
    title = f"{lines:,} lines until they are shown"
    return Figure("page.grid", title, "ms", Better.LESS, Series(OURS, tuple(ours)), Series(GRID, tuple(grid)))


async def grown(lab: Lab, browser: Browser, service: Service) -> list[Figure]:
    """Follow a job that writes 200,000 lines a second."""
    seconds = lab.samples(60, 10)
    with service.client() as client:
        job = writing(200_000 * seconds, 200_000)
        job_id = client.post("/jobs", json=job).raise_for_status().json()["job_id"]
        async with fresh_page(browser, service.url) as page:
            await page.goto(f"/ui/jobs/{job_id}/log")
            await page.locator("[data-line]").first.wait_for()
            gaps, blank = await frame_gaps(page, (seconds - 3) * 1000)
            await page.get_by_role("button", name="Verify").or_(page.locator("[data-digest]")).first.wait_for()
            exact = await is_exact(page)
        step = client.get(f"/jobs/{job_id}/log/index").raise_for_status().json()["steps"][0]
    lab.note(f"The job that grows has written {200_000 * seconds:,} lines in {step['seconds']:.1f} s.")
    return [
        Figure(
            "page.grow.frames", "200,000 lines a second: frame to frame", "ms", Better.LESS, Series(OURS, tuple(gaps))
        ),
        Figure("page.grow.blank", "the same: visible lines without text", "%", Better.LESS, Series(OURS, (blank,))),
        Figure(
            "page.grow.exact",
            "the same: logs whose digest was the job's",
            "%",
            Better.MORE,
            Series(OURS, (100.0 * exact,)),
            exact=True,
        ),
    ]
