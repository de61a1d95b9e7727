"""PostgreSQL's server dies for good in mid-job, and its replica takes over."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ci_client.errors import ClientError
from tests.helpers.databases import Databases, Place
from tests.helpers.postgresql.replica import make_synchronous, promote, running_replica, url_of_either
from tests.helpers.postgresql.server import PostgreSQLServer, empty_installation, running_server
from tests.helpers.service import Service
from tests.helpers.waiting import eventually
from tests.scenarios.stories import WAIT, Story

pytestmark = pytest.mark.parametrize("place", [Place("process", "postgresql")], ids=["process"])
LEADS = re.compile(r"this controller leads \(term (\d+)\)")


class Pair(NamedTuple):
    """A server and its replica."""

    first: PostgreSQLServer
    second: PostgreSQLServer


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two servers of a test's own, since the first one will not come back."""
    with running_server(durable=True) as first, running_replica(first) as second:
        yield Pair(first, second)


@pytest.fixture
def databases(pair: Pair) -> Databases:
    """One database, on whichever server writes."""
    return OnEither(pair, empty_installation(pair.first))


class OnEither:
    """Gives databases of two servers; they go with these."""

    def __init__(self, pair: Pair, template: str) -> None:
        self._pair = pair
        self._template = template

    def settings(self, directory: Path) -> dict[str, str]:
        name = self._pair.first.create_database(self._template)
        return {"CI_DATABASE_URL": url_of_either(*self._pair, name), "CI_DATA_DIR": str(directory / "ci_jobs.data")}


def terms(*controllers: Service) -> list[int]:
    """Return the terms of leaders, in the order in which the controllers told of them."""
    return [int(term) for controller in controllers for term in LEADS.findall("".join(controller.said))]


async def fail_over(pair: Pair) -> None:
    """Kill the first server, and have the second one take over."""
    await asyncio.to_thread(pair.first.kill)
    await asyncio.to_thread(promote, pair.second)


async def test_running_jobs_and_those_that_end_meanwhile(story: Story, pair: Pair) -> None:
    await make_synchronous(pair.first)
    await story.begin(CI_CONTROLLER="off", CI_LEASE_SECONDS="2")
    leader = story.controller(CI_LEASE_SECONDS="2")
    longer = await story.submit_and_see("up", WAIT)
    ending = await story.submit_and_see("up", f"{WAIT}; exit 7")
    standby = story.controller(CI_LEASE_SECONDS="2")
    await asyncio.to_thread(pair.first.kill)
    story.let_end(ending)
    await story.wrote(ending, "down\n")
    await asyncio.to_thread(promote, pair.second)
    assert (await story.ends(ending, "failed", "up\ndown\n"))["exit_code"] == 7
    leader.kill()
    story.let_end(longer)
    await story.ends(longer, "succeeded", "up\ndown\n")
    before, after = terms(leader), terms(standby)
    assert max(before) < min(after), "the fence goes on"
    assert sorted(set(before + after)) == before + after, "and no term is led twice"


async def test_what_was_accepted_is_there_and_runs_once(story: Story, pair: Pair) -> None:
    await make_synchronous(pair.first)
    await story.begin(CI_CONTROLLER="off", MAX_CONCURRENCY="8")
    story.controller(MAX_CONCURRENCY="8")
    accepted: dict[int, str] = {}
    is_over = False

    async def submit(number: int) -> None:
        while not is_over:
            number += 4
            try:
                accepted[number] = await story.submit(f"echo {number}", labels={"number": str(number)})
            except ClientError:
                pass
            await asyncio.sleep(0.05)

    submitting = [asyncio.create_task(submit(number)) for number in range(4)]
    await eventually(lambda: len(accepted) > 8)
    await fail_over(pair)
    before = len(accepted)
    await eventually(lambda: len(accepted) > before + 8)
    is_over = True
    await asyncio.gather(*submitting)
    listed: dict[int, list[str]] = {}
    for job in await story.client.list_jobs(limit=10_000):
        listed.setdefault(int(job["labels"]["number"]), []).append(job["job_id"])
    assert {number: listed.get(number) for number in accepted} == {n: [job] for n, job in accepted.items()}
    for number, job_ids in listed.items():
        assert len(job_ids) == 1
        await story.ends(job_ids[0], "succeeded", f"{number}\n")
