"""The page for browsers as its reader has it: how soon it shows something, how smoothly it moves, what it takes."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page

PATIENCE_MS: Final = 120_000
_SHOWN: Final = "[data-line='{line}'] [data-text]:not(:empty)"
_GAPS: Final = """async ([milliseconds, pixels]) => {
  const scroller = document.querySelector("[role=region][tabindex]");
  const gaps = [];
  let visible = 0;
  let blank = 0;
  const begun = performance.now();
  for (let last = begun; last - begun < milliseconds; ) {
    if (pixels) scroller.scrollTop += pixels;
    const now = await new Promise(requestAnimationFrame);
    if (now > last) gaps.push(now - last);
    last = now;
    const view = scroller.getBoundingClientRect();
    for (const row of scroller.querySelectorAll("[data-line]")) {
      const { top, bottom } = row.getBoundingClientRect();
      if (bottom <= view.top || top >= view.bottom) continue;
      visible += 1;
      blank += row.querySelector("[data-text]").textContent === "";
    }
  }
  return [gaps, (100 * blank) / Math.max(1, visible)];
}"""
_GRID: Final = """async (lines) => {
  document.body.innerHTML = '<pre style="display:grid;grid-template-columns:min-content 1fr min-content"></pre>';
  const grid = document.body.firstChild;
  const begun = performance.now();
  for (let line = 1; line <= lines; line += 1) {
    for (const text of [`${line}`, `${line}: the quick brown fox jumps over the lazy dog, again and again`, "0s"]) {
      const cell = document.createElement("span");
      cell.textContent = text;
      grid.append(cell);
    }
  }
  grid.lastChild.scrollIntoView();
  for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}"""


@asynccontextmanager
async def fresh_page(browser: Browser, url: str = "") -> AsyncIterator[Page]:
    """Open a page that has nothing in its cache."""
    context = await browser.new_context(base_url=url or None, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield await context.new_page()
    finally:
        await context.close()


async def opening(page: Page, path: str, line: int) -> float:
    """Open the path of a log; return the milliseconds until the text of the line is there."""
    begun = time.perf_counter()
    await page.goto(path, wait_until="commit")
    await page.locator(_SHOWN.format(line=line)).wait_for()
    return (time.perf_counter() - begun) * 1000


async def searching(page: Page, wanted: str, hits: int) -> float:
    """Search the open log; return the seconds until all of it was searched. There are so many hits."""
    await page.keyboard.press("Control+F")
    begun = time.perf_counter()
    await page.get_by_role("searchbox").fill(wanted)
    await page.get_by_text(re.compile(rf"of {hits:,}$")).wait_for()
    return time.perf_counter() - begun


async def frame_gaps(page: Page, milliseconds: int, *, pixels: int = 0) -> tuple[list[float], float]:
    """Scroll the open log by so many pixels in each frame.

    Return the milliseconds from frame to frame, and how many of the visible rows had no text, in percent. No line of
    the log may be empty.
    """
    gaps, blank = await page.evaluate(_GAPS, [milliseconds, pixels])
    return gaps, blank


async def rendering_each_line(page: Page, lines: int) -> float:
    """Render a log as a grid with three cells for each line; return the milliseconds until it is painted."""
    taken: float = await page.evaluate(_GRID, lines)
    return taken


async def is_exact(page: Page) -> bool:
    """Return whether the page has compared all bytes of the log that it shows with the digest of the job."""
    digest = page.locator("[data-digest]")
    verify = page.get_by_role("button", name="Verify")
    await digest.or_(verify).first.wait_for()
    if not await digest.count():
        await verify.click()
    await digest.wait_for()
    return await digest.get_attribute("data-digest") == "same"


def tab_memory() -> float:
    """Return the megabytes that only the largest tab of this machine's Chromium has, its workers included."""
    return max(map(_private_memory, _tabs()), default=0) / 1e6


def _tabs() -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # It has ended.
        if b"chromium" in command and b"--type=renderer" in command:
            found.append(process)
    return found


def _private_memory(process: Path) -> int:
    try:
        rollup = (process / "smaps_rollup").read_text()
    except OSError:
        return 0  # It has ended.
    return sum(int(amount) * 1024 for amount in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M))
