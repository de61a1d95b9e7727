"""The page of a job: that it shows what the job is, and leads to what went wrong."""

import pytest
from playwright.async_api import expect

from tests.helpers.service import Service
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage
from tests.ui.sample_jobs import ENDLESS, FAILED, LONG_NAME, SUCCEEDED, TIMED_OUT, submit, wait_for


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
async def test_a_failed_job_opens_at_its_first_failing_test(
    service: Service, open_page: OpenPage, inspect: Inspect, size: Size, theme: Theme
) -> None:
    with service.client() as client:
        job_id = submit(client, FAILED)
        wait_for(client, job_id)
    async with open_page(size=size, theme=theme) as watched:
        page = watched.page
        await page.goto(f"/ui/jobs/{job_id}")
        await page.get_by_role("heading", name="tests.test_cart::test_total").wait_for()
        await expect(page).to_have_title("Failed: test suite of the shop · ci-server")
        assert "failed.svg" in str(await page.locator("link[rel=icon]").get_attribute("href"))
        await expect(page.get_by_text("ended with exit code 3")).to_be_visible()
        await expect(page.get_by_role("link", name="the report")).to_have_attribute("href", "https://reports.example/1")
        await expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
        await inspect(page, f"job-failed-{size}-{theme}")
        await page.get_by_role("link", name="Show in the log").first.click()
        await expect(page.get_by_text("tests/test_cart.py:12: AssertionError")).to_be_visible()
        await inspect(page, f"job-log-{size}-{theme}")
        await page.go_back()
        await page.get_by_role("heading", name="Failing tests").wait_for()


async def test_jobs_in_every_other_state(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    with service.client() as client:
        succeeded = submit(client, SUCCEEDED | {"labels": {"name": LONG_NAME}})
        timed_out = submit(client, TIMED_OUT)
        wait_for(client, succeeded)
        wait_for(client, timed_out)
        endless = submit(client, ENDLESS)
        wait_for(client, endless, "running")
    async with open_page() as watched:
        page = watched.page
        await page.goto(f"/ui/jobs/{succeeded}")
        await page.get_by_text("It has succeeded.").wait_for()
        await inspect(page, "job-long-name")
        await page.goto(f"/ui/jobs/{timed_out}")
        await page.get_by_text("It ran longer than its timeout.").wait_for()
        await page.goto(f"/ui/jobs/{endless}")
        await page.get_by_text("It runs.").wait_for()
        await page.get_by_role("button", name="Cancel").click()
        await inspect(page, "job-cancel-asked")
        await page.get_by_role("button", name="Cancel the job").click()
        await page.get_by_text("It was cancelled.").wait_for()
        await expect(page).to_have_title("Cancelled: echo started; sleep 600 · ci-server")


async def test_a_job_that_is_not_there(open_page: OpenPage, inspect: Inspect) -> None:
    async with open_page() as watched:
        watched.allowed_errors = ("404",)
        await watched.page.goto("/ui/jobs/01890000-0000-7000-8000-000000000000")
        await watched.page.get_by_role("heading", name="There is no such job").wait_for()
        await inspect(watched.page, "job-not-there")


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
async def test_every_part_of_a_job(
    service: Service, open_page: OpenPage, inspect: Inspect, size: Size, theme: Theme
) -> None:
    with service.client() as client:
        job_id = submit(client, FAILED)
        wait_for(client, job_id)
    async with open_page(size=size, theme=theme) as watched:
        page, name = watched.page, f"{size}-{theme}"
        # What the browser says of the report, which tries to read the jobs.
        watched.allowed_errors = ("Content Security Policy",)
        await page.goto(f"/ui/jobs/{job_id}?tab=tests&status=failed")
        await page.get_by_role("link", name="test_total").click()
        await page.get_by_text("adding <script>alert(1)</script>").wait_for()
        await page.get_by_role("heading", name="History").wait_for()
        await inspect(page, f"job-test-{name}")
        await page.get_by_role("link", name="All tests").click()
        await expect(page.get_by_role("link", name="test_empty")).to_have_count(0)
        await page.get_by_label("Show").select_option("")
        await page.get_by_role("link", name="test_empty").wait_for()
        await inspect(page, f"job-tests-{name}")

        await page.get_by_role("link", name="Artifacts").first.click()
        await page.get_by_role("link", name="index.html", exact=True).click()
        report = page.frame_locator("iframe")
        await report.get_by_text("script has run").wait_for()
        await report.get_by_text("and stays in its frame").wait_for()
        await expect(report.get_by_text("has read jobs")).to_have_count(0)
        await inspect(page, f"job-artifacts-{name}")
        await page.get_by_role("link", name="data.json", exact=True).click()
        await page.get_by_text('"total": 42').wait_for()
        await page.get_by_role("link", name="notes.md", exact=True).click()
        await page.get_by_role("heading", name="Notes", exact=True).wait_for()
        await page.get_by_role("link", name="one.png", exact=True).click()
        await expect(page.locator("main img")).to_have_js_property("naturalWidth", 1)
        async with page.expect_download() as saved:
            await page.get_by_role("link", name="Download reports/plain.txt").click()
        assert (await saved.value).suggested_filename == "plain.txt"

        await page.get_by_role("link", name="Timeline").click()
        await expect(page.get_by_role("rowheader", name="Its own code", exact=True)).to_be_visible()
        await inspect(page, f"job-timeline-{name}")
        await page.get_by_role("link", name="Attempts").click()
        await page.get_by_text("It has one attempt").wait_for()
        await inspect(page, f"job-attempts-{name}")
        await page.get_by_role("link", name="Record").click()
        await page.get_by_role("button", name="Compute the digests again").click()
        await expect(page.get_by_text("✓ computed here, and the same")).to_have_count(2)
        await inspect(page, f"job-record-{name}")


async def test_a_job_is_run_again_with_changes(service: Service, open_page: OpenPage, inspect: Inspect) -> None:
    with service.client() as client:
        job_id = submit(client, {"command": "echo $LEVEL; exit 1", "env": {"LEVEL": "low", "A_TOKEN": "hidden"}})
        wait_for(client, job_id)
        async with open_page() as watched:
            watched.allowed_errors = ("400",)
            page = watched.page
            await page.goto(f"/ui/jobs/{job_id}")
            await page.get_by_role("button", name="Run again with changes").click()
            form = page.get_by_role("dialog")
            await expect(form.get_by_text("A_TOKEN, which are not shown")).to_be_visible()
            await form.get_by_label("Command").fill("test $LEVEL = high && test $A_TOKEN = hidden")
            await form.get_by_label("Variables").fill("LEVEL=high")
            await form.get_by_label("Timeout").fill("soon")
            await form.get_by_role("button", name="Run").click()
            await form.get_by_role("alert").get_by_text("timeout").first.wait_for()
            await inspect(page, "job-again-refused")
            await form.get_by_label("Timeout").fill("1m")
            await form.get_by_role("button", name="Run").click()
            await page.get_by_text("It has succeeded.").wait_for()
            assert job_id not in page.url
            await page.get_by_role("button", name="Delete").click()
            await page.get_by_role("button", name="Delete the job").click()
            await page.get_by_role("heading", name="Jobs").wait_for()
            assert len(client.get("/jobs").json()) == 1


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
async def test_a_job_is_run_again_from_the_text_of_its_spec(
    service: Service, open_page: OpenPage, inspect: Inspect, size: Size, theme: Theme
) -> None:
    steps = [{"name": "test", "run": "# as before\nif true; then\n  exit 1\nfi"}]
    with service.client() as client:
        job_id = submit(client, {"steps": steps, "env": {"LEVEL": "low", "A_TOKEN": "hidden"}})
        wait_for(client, job_id)
        async with open_page(size=size, theme=theme) as watched:
            page = watched.page
            await page.goto(f"/ui/jobs/{job_id}")
            await page.get_by_role("button", name="Run again with changes").click()
            form = page.get_by_role("dialog")
            await form.get_by_role("radio", name="The spec as text").check()
            spec = form.get_by_role("textbox", name="Spec")
            await expect(spec).to_contain_text("LEVEL: low")
            await expect(spec).not_to_contain_text("A_TOKEN")
            before = "\n".join(await spec.locator(".cm-line").all_inner_texts())
            await inspect(page, f"job-again-text-{size}-{theme}")
            await spec.fill("image: [")
            await form.get_by_role("button", name="Run", exact=True).click()
            await form.get_by_text("This is not YAML").wait_for()
            await expect(spec).to_have_attribute("aria-invalid", "true")
            await spec.fill(before.replace("exit 1", "test $LEVEL = high").replace("LEVEL: low", "LEVEL: high"))
            # Tab leaves the editor, as it leaves every field.
            await page.keyboard.press("Tab")
            await expect(form.get_by_role("button", name="Run", exact=True)).to_be_focused()
            await page.keyboard.press("Enter")
            await page.get_by_text("It has succeeded.").wait_for()
            made = client.get(f"/jobs/{page.url.rsplit('/', 1)[1]}").json()
            assert made["payload"]["env"] == {"LEVEL": "high", "A_TOKEN": "***"}
