"""The frame of all pages: that it loads under its policy, at every size and theme, and says what is wrong."""

import gzip

import httpx
import pytest

from tests.helpers.service import Service
from tests.ui.browser import Size, Theme
from tests.ui.conftest import Inspect, OpenPage


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
async def test_a_browser_is_led_to_the_page(open_page: OpenPage, inspect: Inspect, theme: Theme, size: Size) -> None:
    async with open_page(theme=theme, size=size) as watched:
        await watched.page.goto("/")
        await watched.page.get_by_text("There are no jobs yet.").wait_for()
        assert watched.page.url.endswith("/ui/")
        await inspect(watched.page, f"jobs-empty-{size}-{theme}")


async def test_an_address_that_leads_nowhere_says_so(open_page: OpenPage, inspect: Inspect) -> None:
    async with open_page() as watched:
        await watched.page.goto("/ui/nothing/here")
        await watched.page.get_by_role("heading", name="There is no such page").wait_for()
        await inspect(watched.page, "not-found")
        await watched.page.get_by_role("link", name="To the jobs").click()
        await watched.page.get_by_role("heading", name="Jobs", exact=True).wait_for()


async def test_the_theme_is_kept(open_page: OpenPage) -> None:
    async with open_page(theme="light") as watched:
        await watched.page.goto("/ui/")
        await watched.page.get_by_label("Theme").select_option("dark")
        await watched.page.reload()
        dark = await watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark == "rgb(20, 23, 28)"


def test_files_are_compressed_immutable_and_held_by_their_policy(service: Service) -> None:
    with service.client() as client:
        index = client.get("/ui/jobs/1", headers={"Accept": "text/html"})
        assert index.headers["cache-control"] == "no-cache"
        assert "unsafe" not in index.headers["content-security-policy"]
        script = index.text.split('src="./')[1].split('"')[0]
        plain = client.get(f"/ui/{script}", headers={"Accept-Encoding": "identity"})
        with client.stream("GET", f"/ui/{script}", headers={"Accept-Encoding": "gzip"}) as response:
            packed = b"".join(response.iter_raw())
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed) == plain.content
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert plain.headers["vary"] == "Accept-Encoding"
        unchanged = client.get(f"/ui/{script}", headers={"If-None-Match": plain.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (httpx.codes.NOT_MODIFIED, b"")


def test_addresses_have_queries_that_only_the_page_reads(service: Service) -> None:
    with service.client() as client:
        answer = client.get("/ui/jobs/1/log?step=build&label=a&label=b", headers={"Accept": "text/html"})
        assert answer.status_code == httpx.codes.OK


@pytest.mark.parametrize("path", ["assets/gone.js", "../pyproject.toml", "%2e%2e/built.py", "index.html/.."])
def test_no_other_file_is_served(service: Service, path: str) -> None:
    with service.client() as client:
        answer = client.get(f"/ui/{path}", headers={"Accept": "application/javascript"})
        assert answer.status_code == httpx.codes.NOT_FOUND
