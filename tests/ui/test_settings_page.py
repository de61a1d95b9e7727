"""The settings on the page, for an administrator and for a key that may only look."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.helpers.service import Service
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage
from tests.ui.sample_jobs import SUCCEEDED, submit, wait_for
from tests.ui.test_sign_in import sign_in


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark")])
async def test_keys_and_secrets_are_made_and_taken_away(
    open_page: OpenPage, inspect: Inspect, service: Service, admin_key: str, size: Size, theme: Theme
) -> None:
    async with open_page(size=size, theme=theme) as watched:
        page = watched.page
        await page.goto("/ui/settings/keys")
        await sign_in(page, admin_key)
        await page.get_by_role("textbox", name="Name").fill("bob")
        await page.get_by_label("Role", exact=True).select_option("viewer")
        await page.get_by_role("button", name="Make a key").click()
        made = await page.get_by_label("Key", exact=True).input_value()
        await page.get_by_role("button", name="Close").click()
        await inspect(page, f"settings-keys-{size}-{theme}")
        with service.client(headers={"Authorization": f"Bearer {made}"}) as client:
            assert client.get("/keys/own").json()["name"] == "bob"
        await page.get_by_role("button", name="Revoke bob").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        await expect(page.get_by_role("row", name="bob")).to_contain_text("revoked")
        await page.get_by_role("link", name="Secrets").click()
        await page.get_by_role("textbox", name="Name").fill("TOKEN")
        await page.get_by_label("Value", exact=True).fill("a-long-secret-value-42")
        await page.get_by_role("button", name="Set a secret").click()
        await expect(page.get_by_role("row", name="TOKEN")).to_be_visible()
        await expect(page.get_by_label("Value", exact=True)).to_have_value("")
        await inspect(page, f"settings-secrets-{size}-{theme}")


async def test_what_a_role_does_not_allow_is_said(open_page: OpenPage, service: Service, admin_key: str) -> None:
    with service.client(headers={"Authorization": f"Bearer {admin_key}"}) as client:
        viewer = client.post("/keys", json={"name": "eve", "role": "viewer"}).json()["key"]
    async with open_page() as watched:
        page = watched.page
        await page.goto("/ui/settings/keys")
        await sign_in(page, viewer)
        await expect(page.get_by_text("it takes the scope keys:admin, which viewer does not have")).to_be_visible()
        await page.get_by_role("link", name="Submit").click()
        await expect(page.get_by_role("heading", name="This key may not submit jobs")).to_be_visible()


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("phone", "dark"), ("desktop", "dark")])
async def test_the_audit_is_narrowed_paged_verified_and_exported(
    open_page: OpenPage, inspect: Inspect, service: Service, admin_key: str, tmp_path: Path, size: Size, theme: Theme
) -> None:
    with service.client(headers={"Authorization": f"Bearer {admin_key}"}) as client:
        viewer = client.post("/keys", json={"name": "eve", "role": "viewer"}).json()["key"]
        for number in range(60):
            client.put(f"/secrets/TOKEN_{number}", json={"value": "a-long-secret-value-42"}).raise_for_status()
        for _ in range(3):
            client.put("/secrets/OTHER", json={"value": "x"}, headers={"Authorization": f"Bearer {viewer}"})
    async with open_page(size=size, theme=theme) as watched:
        page = watched.page
        await page.goto("/ui/settings/audit")
        await sign_in(page, admin_key)
        rows = page.locator("tbody tr")
        await expect(rows).to_have_count(50)
        await page.get_by_role("link", name="Older entries").click()
        await page.get_by_role("row", name="command line").wait_for()
        await page.get_by_role("link", name="Newest entries").click()
        await page.get_by_label("Outcome").select_option("refused")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("3 times")
        await expect(page).to_have_url(re.compile(re.escape("?outcome=refused") + "$"))
        await page.get_by_label("Outcome").select_option("")
        await page.get_by_label("Action").fill("create_key")
        await expect(rows).to_have_count(2)
        await rows.first.get_by_text("Details").click()
        await inspect(page, f"settings-audit-{size}-{theme}")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Export as JSON lines").click()
        await (await download.value).save_as(tmp_path / "audit.jsonl")
        assert (tmp_path / "audit.jsonl").read_text().count('"action":"create_key"') == 2
        await page.get_by_role("button", name="Verify").click()
        await page.get_by_text("the chain ends where it should").wait_for()
        await inspect(page, f"settings-audit-verified-{size}-{theme}")
        watched.allowed_errors = ("status of 4",)
        await page.get_by_label("Noted mark").fill(f"1:{'0' * 64}")
        await page.get_by_role("button", name="Verify").click()
        await page.get_by_role("alert").get_by_text("Entry 1 does not fit").wait_for()


async def test_a_developer_of_one_project_sees_the_buttons_of_that_one(
    open_page: OpenPage, service: Service, admin_key: str
) -> None:
    with service.client(headers={"Authorization": f"Bearer {admin_key}"}) as client:
        bob = client.post("/keys", json={"name": "bob", "owner": "bob", "role": "viewer"}).json()["key"]
        for project in ("web", "shop"):
            client.post("/projects", json={"name": project}).raise_for_status()
            client.put("/secrets/TOKEN", params={"project": project}, json={"value": "a-long-secret-value-42"})
        client.put("/projects/web/members/bob", json={"role": "operator"}).raise_for_status()
        web, shop = (submit(client, SUCCEEDED | {"project": project}) for project in ("web", "shop"))
        wait_for(client, web)
        wait_for(client, shop)
    async with open_page() as watched:
        page = watched.page
        await page.goto(f"/ui/jobs/{web}")
        await sign_in(page, bob)
        await page.get_by_role("button", name="Delete").wait_for()
        await page.goto(f"/ui/jobs/{shop}")
        await page.get_by_role("button", name="Copy link").wait_for()
        assert await page.get_by_role("button", name="Delete").count() == 0
        await page.goto("/ui/")
        boxes = page.locator("[data-job]").get_by_role("checkbox")
        await expect(boxes).to_have_count(2)
        for box in await boxes.all():
            await box.check()
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_text("1 job of the selected may not be changed by you").wait_for()
        await page.get_by_role("button", name="Delete 1 job").wait_for()
        await page.goto("/ui/settings/secrets")
        await expect(page.get_by_role("row", name="TOKEN").filter(has_text="web").get_by_role("button")).to_have_count(
            1
        )
        assert await page.get_by_role("row", name="TOKEN").filter(has_text="shop").get_by_role("button").count() == 0
        await page.goto("/ui/settings/audit")
        await page.get_by_text("it takes the scope audit:read for all projects").wait_for()
