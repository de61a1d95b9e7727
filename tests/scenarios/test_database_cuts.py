"""Either the API or the controller is cut off from PostgreSQL, while the other one goes on."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ci_client.errors import ClientError
from ci_selftest.faults.database_proxy import Proxy
from tests.helpers.databases import Place
from tests.helpers.postgresql.server import PostgreSQLServer
from tests.helpers.service import Service
from tests.helpers.waiting import eventually
from tests.scenarios.stories import WAIT, Story

pytestmark = pytest.mark.parametrize("place", [Place("process", "postgresql")], ids=["process"])
EACH_WAY = pytest.mark.parametrize("how", ["refused", "held"])
LEASE = {"CI_LEASE_SECONDS": "2"}
LEADS = re.compile(r"this controller leads \(term (\d+)\)")


@pytest.fixture
async def proxy(postgresql_server: PostgreSQLServer) -> AsyncIterator[Proxy]:
    async with Proxy(postgresql_server.port).run() as proxy:
        yield proxy


@pytest.fixture
def through(story: Story, postgresql_server: PostgreSQLServer, proxy: Proxy) -> dict[str, str]:
    """The setting with which a part reaches the database through the proxy."""
    url = story.environment["CI_DATABASE_URL"]
    return {"CI_DATABASE_URL": url.replace(f":{postgresql_server.port}/", f":{proxy.port}/")}


@asynccontextmanager
async def cut_off(proxy: Proxy, how: str) -> AsyncIterator[None]:
    """Cut all connections and refuse new ones; or hold back every byte, as a network does that is gone."""
    if how == "held":
        proxy.may_forward.clear()
        yield
        proxy.may_forward.set()
    else:
        proxy.is_refusing = True
        proxy.cut()
        yield
        proxy.is_refusing = False


def term(controller: Service) -> int:
    """Return the latest term in which it has led, 0 for none."""
    return max(map(int, LEADS.findall("".join(controller.said))), default=0)


@EACH_WAY
async def test_a_job_ends_while_the_api_is_cut_off(
    story: Story, proxy: Proxy, through: dict[str, str], how: str
) -> None:
    await story.begin(CI_CONTROLLER="off", **through)
    story.controller()
    job = await story.submit_and_see("up", f"{WAIT}; exit 7")
    reading = asyncio.create_task(story.read(job))
    await eventually(lambda: "up\n" in story.received, "the reader has the first line")
    async with cut_off(proxy, how):
        story.let_end(job)
        await story.wrote(job, "down\n")
        await asyncio.sleep(2)
    assert await reading == "up\ndown\n"
    assert (await story.ends(job, "failed", "up\ndown\n"))["exit_code"] == 7


@EACH_WAY
async def test_the_only_controller_is_cut_off(story: Story, proxy: Proxy, through: dict[str, str], how: str) -> None:
    await story.begin(CI_CONTROLLER="off")
    controller = story.controller(**LEASE, **through)
    job = await story.submit_and_see("up", f"{WAIT}; exit 7")
    before = term(controller)
    async with cut_off(proxy, how):
        story.let_end(job)
        waiting = await story.submit("echo later")
        await asyncio.sleep(3)
        assert (await story.client.get_job(waiting))["status"] == "queued"
    assert (await story.ends(job, "failed", "up\ndown\n"))["exit_code"] == 7
    await story.ends(waiting, "succeeded", "later\n")
    assert term(controller) >= before


@EACH_WAY
async def test_a_standby_takes_over_from_a_leader_that_is_cut_off(
    story: Story, proxy: Proxy, through: dict[str, str], how: str
) -> None:
    await story.begin(CI_CONTROLLER="off")
    leader = story.controller(**LEASE, **through)
    job = await story.submit_and_see("up", WAIT)
    standby = story.controller(**LEASE)
    async with cut_off(proxy, how):
        await eventually(lambda: term(standby) > term(leader), "the standby leads")
        later = await story.submit("echo later")
        await story.ends(later, "succeeded", "later\n")
    await eventually(lambda: "".join(leader.said).rstrip().endswith("stands by"), "the former leader stands by")
    story.let_end(job)
    await story.ends(job, "succeeded", "up\ndown\n")
    assert term(leader) < term(standby)


@pytest.mark.parametrize("part", ["api", "controller"])
async def test_no_commit_is_answered(story: Story, proxy: Proxy, through: dict[str, str], part: str) -> None:
    """The connection is cut at each commit, either before it has arrived or after it was carried out."""
    await story.begin(CI_CONTROLLER="off", **(through if part == "api" else {}))
    story.controller(**(through if part == "controller" else {}))

    async def spoil() -> None:
        while True:
            for at_commit in ("lose answer", "drop", "lose answer"):
                commits, proxy.at_commit = proxy.commits, at_commit
                while proxy.commits == commits:
                    await asyncio.sleep(0.001)

    spoiling = asyncio.create_task(spoil())
    try:
        jobs = [await story.submit(f"echo {number}; exit {number}") for number in range(6)]
        for number, job in enumerate(jobs):
            await story.ends(job, "failed" if number else "succeeded", f"{number}\n")
        assert sorted(job["job_id"] for job in await story.client.list_jobs()) == sorted(jobs)
        assert proxy.commits > 5
    finally:
        spoiling.cancel()
        await asyncio.gather(spoiling, return_exceptions=True)


async def test_the_api_says_that_it_is_cut_off(story: Story, proxy: Proxy, through: dict[str, str]) -> None:
    await story.begin(CI_CONTROLLER="off", **through)
    async with cut_off(proxy, "refused"):
        with pytest.raises(ClientError, match="database"):
            await story.submit("echo never")
        with pytest.raises(ClientError, match="database"):
            await story.client.list_jobs()
    assert await story.client.list_jobs() == []
