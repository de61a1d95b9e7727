"""Test reports: from the end of a job's code to its summary, and pages of its tests."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree.ElementTree import iterparse

from bench.databases import durable_server
from bench.families.end import milliseconds_since
from bench.frame.lab import Lab
from bench.frame.model import Better, Figure, LeftOut, Series
from bench.frame.turns import in_turns
from bench.served import served
from ci_client.aio import CiClient

NAME = "reports"
TITLE = "Test reports: 50,000 tests, 3 of which fail"
TESTS = 50_000
BROKEN = frozenset({100, TESTS // 2, TESTS - 1})
FAILURE = f'<failure message="assert 1 == 2">{20 * "E   assert 1 == 2 "}</failure>'
READING = "iterparse"
PAGES = {
    "failed": ("the tests that failed", {"status": "failed"}),
    "first": ("the first 100 tests", {}),
    "slowest": ("the slowest 100", {"sort": "time"}),
    "search": ("100 tests with a text in their name", {"q": "case_49"}),
}


def write_report(path: Path) -> None:
    """Write a report as pytest does."""
    with path.open("w") as file:
        file.write(f'<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="{TESTS}">')
        for number in range(TESTS):
            place = f"tests.unit.package_{number // 1000}.test_module_{number // 50}.TestThing"
            begin = f'<testcase classname="{place}" name="test_case_{number}[{number % 7}]" time="0.00{number % 10}"'
            file.write(f"{begin}>{FAILURE}</testcase>" if number in BROKEN else f"{begin} />")
        file.write("</testsuite></testsuites>")


async def measure(lab: Lab) -> list[Figure]:
    """Measure jobs that leave the report, and reading the same file with the standard library, in turns."""
    report = lab.directory / "tests.xml"
    write_report(report)
    turns = lab.samples(10, 3)
    figures = []
    async with measuring(lab, "SQLite", report) as (job, page):
        taken = await in_turns(turns, {"SQLite": job, READING: lambda: asyncio.to_thread(read, report)})
        figures.append(beside("reports.summary", "SQLite", taken))
        for name, (title, filters) in PAGES.items():
            samples = [await page(filters) for _ in range(lab.samples(30, 5))]
            figures.append(Figure(f"reports.page.{name}", title, "ms", Better.LESS, Series("SQLite", tuple(samples))))
    try:
        with durable_server() as server:
            url = server.url(server.create_database())
            settings = {"CI_DATABASE_URL": url, "CI_DATA_DIR": f"{lab.directory}/data", "CI_DB_PATH": ""}
            async with measuring(lab, "PostgreSQL", report, **settings) as (job, page):
                taken = await in_turns(turns, {"PostgreSQL": job, READING: lambda: asyncio.to_thread(read, report)})
                figures.append(beside("reports.summary.postgresql", "PostgreSQL", taken))
                samples = [await page({"status": "failed"}) for _ in range(lab.samples(30, 5))]
                ours = Series("PostgreSQL", tuple(samples))
                figures.append(Figure("reports.page.postgresql", PAGES["failed"][0], "ms", Better.LESS, ours))
    except LeftOut as exc:
        lab.leave_out("reports on PostgreSQL", str(exc))
    lab.note(
        f"A job copies a report of {TESTS:,} tests to where reports are read, and then writes the time; its reader "
        "looks at the same clock when it has the verdict, with which the summary is there. All jobs are of one "
        "project, so each is compared with those before. Beside it, `xml.etree.ElementTree.iterparse` goes through "
        "the same file. "
        "Pages are asked for over HTTP."
    )
    return figures


def beside(key: str, name: str, taken: dict[str, list[float]]) -> Figure:
    """Return the figure of summaries, beside the standard library."""
    ours, reference = Series(name, tuple(taken[name])), Series(READING, tuple(taken[READING]))
    return Figure(key, f"end to summary, {name}", "ms", Better.LESS, ours, reference)


def read(report: Path) -> float:
    """Go through the report as the standard library reads it; return the milliseconds."""
    begun = time.perf_counter()
    for _, element in iterparse(report):
        element.clear()
    return (time.perf_counter() - begun) * 1000


Page = Callable[[dict[str, str]], Awaitable[float]]


@asynccontextmanager
async def measuring(
    lab: Lab, name: str, report: Path, **settings: str
) -> AsyncIterator[tuple[Callable[[], Awaitable[float]], Page]]:
    """Yield what runs a job and returns how long its summary took, and what asks for a page of its tests."""
    place = lab.directory / name
    place.mkdir()
    last = ""
    with served(place, **settings) as service:
        async with CiClient(service.url) as client:

            async def job() -> float:
                nonlocal last
                written, taken = "", 0.0
                command = ["/bin/sh", "-c", f'cp {report} "$CI_REPORTS/tests.xml"; exec date +%s%N']
                last = await client.create_job({"command": command, "project": "bench"})
                async for event in client.stream(last):
                    if event["type"] == "log":
                        written += event["data"]
                    elif event["type"] == "complete":
                        taken = milliseconds_since(written)
                counts = (await client.get_job(last))["tests"]
                assert (counts["total"], counts["failed"]) == (TESTS, len(BROKEN)), counts
                return taken

            async def page(filters: dict[str, str]) -> float:
                begun = time.perf_counter()
                found = await client.tests(last, limit=100, **filters)
                taken = (time.perf_counter() - begun) * 1000
                assert len(found) == (len(BROKEN) if filters.get("status") else 100)
                return taken

            yield job, page
