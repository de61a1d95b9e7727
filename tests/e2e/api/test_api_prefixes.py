"""A server below a path of a reverse proxy, which takes the path off or passes it on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from ci_client.aio import CiClient
from ci_common.errors import SettingsError
from ci_common.settings import Settings
from ci_selftest.faults.held_ports import held_port
from ci_server.app import create_api
from tests.e2e.nginx import Nginx
from tests.helpers.http import read_stream
from tests.helpers.keys import stored_key
from tests.helpers.played_api import Api, StartApi

PREFIX = "/team/ci"
Through = Callable[[str], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    started: Api = await start_api(root_path=PREFIX)
    return started


@pytest.fixture
async def through(api: Api, tmp_path: Path) -> AsyncIterator[Through]:
    """Start nginx before the server; it passes requests to a path of it."""
    async with AsyncExitStack() as stack:

        async def start(path: str) -> httpx.AsyncClient:
            port = stack.enter_context(held_port())
            location = f"rewrite ^{PREFIX}(/.*)$ $1 break;" if path == "taken off" else ""
            nginx = Nginx(tmp_path / "nginx", port, api.url, f"{location}\nproxy_set_header Host $http_host;")
            stack.callback(nginx.kill)
            await nginx.start()
            client = httpx.AsyncClient(base_url=nginx.url, timeout=20, trust_env=False)
            return await stack.enter_async_context(client)

        yield start


@pytest.mark.parametrize("path", ["taken off", "passed on"])
async def test_all_that_leads_back_here_has_the_prefix(api: Api, through: Through, path: str) -> None:
    client = await through(path)
    made = [await client.post(f"{PREFIX}/jobs", json={"type": "echo"}) for _ in range(2)]
    assert [each.headers["location"] for each in made] == [f"{PREFIX}/jobs/{each.json()['job_id']}" for each in made]
    assert (await client.get(made[0].headers["location"])).status_code == 200
    listed = await client.get(f"{PREFIX}/jobs", params={"limit": 1})
    assert listed.headers["link"].startswith(f"<{PREFIX}/jobs?limit=1&cursor=")
    assert (await client.get(listed.links["next"]["url"])).status_code == 200
    described = (await client.get(f"{PREFIX}/openapi.json")).json()
    assert described["servers"] == [{"url": PREFIX}]
    page = (await client.get(f"{PREFIX}/docs")).text
    assert f'href="{PREFIX}/openapi.json"' in page
    front = await client.get(f"{PREFIX}/", headers={"accept": "text/html"})
    assert (front.status_code, front.headers["location"]) == (307, f"{PREFIX}/ui/")
    schema = (await client.get(f"{PREFIX}/schema/spec.json")).json()
    assert schema["$id"] == str(client.base_url.copy_with(path=f"{PREFIX}/schema/spec.json"))
    assert (await client.get(f"{PREFIX}")).json()["links"]["jobs"] == f"{PREFIX}/jobs"


@pytest.mark.parametrize("path", ["taken off", "passed on"])
async def test_the_library_works_there(api: Api, through: Through, path: str) -> None:
    client = await through(path)
    async with CiClient(str(client.base_url.copy_with(path=PREFIX))) as ci:
        job_id = await ci.create_job({"image": "busybox", "command": "true"})
        await api.controller.start(job_id)
        api.controller.write(job_id, b"a line\n")
        await api.controller.finish(job_id)
        assert [event["type"] async for event in ci.stream(job_id)][-1] == "complete"
    seen = await read_stream(client, f"{PREFIX}/jobs/{job_id}/stream?from_beginning=true")
    assert seen.exact == b"a line\n"


async def test_the_cookie_is_sent_below_any_path(api: Api, through: Through) -> None:
    key = await stored_key(api.controller.storage)
    client = await through("taken off")
    own = {"sec-fetch-site": "same-origin"}
    assert (await client.post(f"{PREFIX}/session", json={"key": key}, headers=own)).status_code == 201
    assert (await client.get(f"{PREFIX}/jobs")).status_code == 200


async def test_without_the_setting_no_prefix_is_known(start_api: StartApi) -> None:
    api = await start_api()
    assert (await api.client.get(f"{PREFIX}/jobs")).status_code == 404


async def test_what_an_asgi_server_says_is_believed(tmp_path: Path) -> None:
    """As `uvicorn --root-path` and a mounted application do, which put the prefix before the path themselves."""
    app = create_api(Settings(db_path=tmp_path / "jobs.db"))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, root_path=PREFIX)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://localhost{PREFIX}") as client:
            made = await client.post("/jobs", json={"type": "echo"})
            assert made.headers["location"] == f"{PREFIX}/jobs/{made.json()['job_id']}"
            assert (await client.get("/openapi.json")).json()["servers"] == [{"url": PREFIX}]


@pytest.mark.parametrize("prefix", ["/jobs", "/jobs/ci", "/docs"])
def test_a_prefix_that_is_a_path_of_the_server_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(SettingsError, match="take another prefix"):
        create_api(Settings(db_path=tmp_path / "jobs.db", root_path=prefix))


@pytest.mark.parametrize("prefix", ["ci", "/ci/", "//ci", "/ci?x", "/../ci", "/ci/..", "/é"])
def test_what_is_no_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        Settings(root_path=prefix)
