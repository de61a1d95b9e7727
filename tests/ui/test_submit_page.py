"""Submitting on the page: a folder, of which just the files are sent that the command would send, and a command."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from ci_client.packing.explain import explain
from tests.helpers.service import Service, tree
from tests.ui.browser import Size, Theme, watched_page
from tests.ui.conftest import Inspect, OpenPage

_LIST = """
import os

paths = [os.path.join(at, name)[2:] for at, _, names in os.walk(".") for name in names]
print("\\n".join(sorted(paths)))
"""
_PROJECT = {
    "ci.yaml": "steps:\n  - run: python3 list.py\n  - run: ./hello.sh\n",
    "list.py": _LIST,
    "hello.sh": "#!/bin/sh\necho hello from a script\n",
    ".gitignore": "*.log\nbuild/\n!keep.log\n",
    ".ciignore": "docs/**/*.tmp\n!dist/\n",
    "a.log": "left out",
    "keep.log": "kept",
    "build/out": "left out",
    "dist/ünï.txt": "kept",
    "docs/a/b.tmp": "left out",
    "docs/a/b.md": "kept",
    "env/pyvenv.cfg": "",
    "env/bin/python": "left out",
    "src/__pycache__/x.pyc": "left out",
    "src/.gitignore": "/only-here\n",
    "src/only-here": "left out",
    "src/deep/only-here": "kept",
    ".env": "TOKEN=1",
    "noise.bin": bytes(range(256)) * 2000,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tree(tmp_path / "my project", _PROJECT)


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
async def test_a_job_sees_just_the_files_that_the_command_would_send(
    open_page: OpenPage, inspect: Inspect, service: Service, project: Path, size: Size, theme: Theme
) -> None:
    async with open_page(size=size, theme=theme) as watched:
        page = watched.page
        await page.goto("/ui/submit")
        await inspect(page, f"submit-empty-{size}-{theme}")
        await page.get_by_label("Choose a folder").set_input_files(project)
        await expect(page.get_by_text("will be sent")).to_contain_text("12 files")
        await expect(page.get_by_role("alert")).to_contain_text(".env")
        await page.get_by_text("Left out: 6").click()
        await expect(page.get_by_role("row", name="build/")).to_contain_text(".gitignore:2: build/")
        await page.get_by_label("Labels").fill("no pair")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.get_by_text("no pair has no =")).to_be_visible()
        await inspect(page, f"submit-chosen-{size}-{theme}")
        await page.get_by_label("Labels").fill("team=web")
        await page.get_by_role("textbox", name="Project").fill("from the page")
        await page.get_by_role("button", name="Send again").click()
        await page.wait_for_url("**/ui/jobs/*")
        job_id = page.url.rpartition("/")[2]
    with service.client() as client, client.stream("GET", f"/jobs/{job_id}/stream?from_beginning=true") as stream:
        assert '"type":"complete"' in stream.read().decode()
        job = client.get(f"/jobs/{job_id}").json()
        log = client.get(f"/jobs/{job_id}/log").text
    assert (job["conclusion"], job["project"], job["labels"]) == ("succeeded", "from the page", {"team": "web"}), log
    sent = sorted(entry.path for entry in explain(project).files)
    assert [line for line in log.splitlines() if line in sent] == sent
    assert "left out" not in log
    assert "hello from a script" in log


async def test_a_submission_that_fails_is_sent_again_without_choosing_again(
    browser: Browser, service: Service, project: Path
) -> None:
    async with watched_page(browser, service.url) as watched:
        page, watched.allowed_errors = watched.page, ("ERR_FAILED", "status of 400")
        await page.goto("/ui/submit")
        await page.get_by_label("Choose a folder").set_input_files(project)
        await page.get_by_label("Timeout").fill("soon")
        await page.get_by_role("button", name="Submit").click()
        await expect(page.get_by_role("alert").last).to_contain_text("timeout")
        await page.get_by_label("Timeout").fill("5m")
        await page.route("**/submit-async", lambda route: route.abort())
        await page.get_by_role("button", name="Submit").click()
        await expect(page.get_by_role("alert").last).to_contain_text("The server does not answer.")
        await page.unroute_all()
        await page.get_by_role("button", name="Send again").click()
        await page.wait_for_url("**/ui/jobs/*")
    with service.client() as client:
        assert len(client.get("/jobs").json()) == 1


async def test_a_command_is_submitted_in_an_image(open_page: OpenPage, inspect: Inspect, service: Service) -> None:
    async with open_page() as watched:
        page = watched.page
        await page.goto("/ui/submit?from=command")
        await page.locator(".cm-content").wait_for()  # The editor takes the place of a plain field.
        await page.get_by_label("Command").fill("echo six times seven is $((6 * 7))")
        await page.get_by_label("Image").fill("busybox")
        await page.get_by_label("Variables").fill("A=1\nB=x=y")
        await inspect(page, "submit-command-desktop-light")
        await page.get_by_role("button", name="Submit").click()
        await page.wait_for_url("**/ui/jobs/*")
        job_id = page.url.rpartition("/")[2]
    with service.client() as client:
        assert client.get(f"/jobs/{job_id}").json()["payload"]["env"] == {"A": "1", "B": "x=y"}
