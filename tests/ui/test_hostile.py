"""Text of strangers on every page: it stays text, and nothing of it leaves its box."""

import json
from typing import Any, Final
from urllib.parse import quote

from playwright.async_api import Page

from tests.helpers.service import Service
from tests.helpers.waiting import eventually
from tests.ui.conftest import OpenPage

NASTY: Final = (
    "<script>window.__pwned=1</script>",
    "<img src=x onerror=window.__pwned=1>",
    '"><svg/onload=window.__pwned=1>',
    "javascript:window.__pwned=1",
    '[a](javascript:window.__pwned=1) ![b](x" onerror="window.__pwned=1)',
    "{{constructor.constructor('window.__pwned=1')()}}",
    "\u202egnp.exe\u2066 \u200b",
    "w" * 400,
    "x\u0301" * 200,
)
NOT_FOUND: Final = ("status of 404", "status of 400")
TABS: Final = ("summary", "log", "tests", "artifacts", "timeline", "attempts", "record", *NASTY[:3])


def submit(service: Service, text: str) -> str:
    """Run a job that has `text` wherever a job can have text, and return its id."""
    case = f"<testcase name={json.dumps(xml(text))} classname='c'><failure message={json.dumps(xml(text))}/></testcase>"
    report = f"<testsuite name='s' tests='1'>{case}</testsuite>"
    step = {
        "name": text.replace("\u200b", "")[:100],
        "run": 'echo "$TEXT"; printf "%s" "$TEXT" > "$CI_SUMMARY"; printf "%s" "$REPORT" > report.xml; exit 1',
    }
    job: dict[str, Any] = {
        "steps": [step],
        "env": {"TEXT": text, "REPORT": report},
        "labels": {"name": text[:60]},
        "reports": {"junit": ["report.xml"]},
        "artifacts": ["report.xml"],
    }
    with service.client() as client:
        answer = client.post("/jobs", json=job)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id


def xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


async def is_harmless(page: Page, address: str) -> None:
    await page.goto(address)
    await page.locator("main :is(h1, h2)").first.wait_for()
    assert await page.evaluate("window.__pwned") is None, address
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{address} is {wider} pixels wider than the window"


async def test_text_of_strangers_stays_text(open_page: OpenPage, service: Service) -> None:
    jobs = [submit(service, text) for text in NASTY]
    with service.client() as client:
        for job in jobs:
            await eventually(lambda job=job: client.get(f"/jobs/{job}").json()["status"] == "completed", "the end")
    async with open_page(size="phone") as watched:
        watched.allowed_errors = NOT_FOUND
        page = watched.page
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        for text in NASTY:
            query = quote(text, safe="")
            for path in ("", "queue", "projects", f"projects/{query}", query):
                await is_harmless(page, f"/ui/{path}?q={query}&project={query}&label={query}&tab={query}#{query}")
        for job in jobs:
            await is_harmless(page, f"/ui/jobs/{job}")
            await is_harmless(page, f"/ui/jobs/{job}/log?step={query}")
        for tab in TABS:
            await is_harmless(page, f"/ui/jobs/{jobs[0]}?tab={quote(tab, safe='')}")
        assert not dialogs
