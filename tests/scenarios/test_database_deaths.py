"""PostgreSQL is killed, stopped or restarted, or its sessions are ended, while jobs are in every state."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from ci_client.errors import ClientError, SubmissionUncertain
from tests.helpers.databases import Databases, Place
from tests.helpers.postgresql.server import PostgreSQLServer, empty_installation, running_server
from tests.helpers.service import text_of
from tests.helpers.waiting import eventually
from tests.scenarios.stories import WAIT, Story

How = Literal["kill", "immediate", "fast"]

pytestmark = pytest.mark.parametrize("place", [Place("process", "postgresql")], ids=["process"])
EACH_WAY = pytest.mark.parametrize("how", ["kill", "immediate", "fast"])
SUBMITTERS = 4


@pytest.fixture(scope="module")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """A server of these tests' own, which keeps what it has confirmed."""
    with running_server(durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def postgresql_template(postgresql_server: PostgreSQLServer) -> str:
    return empty_installation(postgresql_server)


@pytest.fixture
def server(postgresql_server: PostgreSQLServer, databases: Databases) -> Iterator[PostgreSQLServer]:
    """The server, which a test may leave stopped."""
    yield postgresql_server
    if not postgresql_server.is_running():
        postgresql_server.start()


@asynccontextmanager
async def away(server: PostgreSQLServer, how: How) -> AsyncIterator[None]:
    """End the server, and start it again at the end."""
    await (asyncio.to_thread(server.kill) if how == "kill" else asyncio.to_thread(server.stop, how))
    yield
    await server.start_again()


async def begin(story: Story, **settings: str) -> None:
    """Start API and controller, a process each."""
    await story.begin(CI_CONTROLLER="off", **settings)
    story.controller(**settings)


async def refusal(story: Story) -> ClientError:
    """Return the error of a request that needs the database."""
    with pytest.raises(ClientError) as caught:
        await story.client.list_jobs()
    return caught.value


@EACH_WAY
async def test_jobs_go_on_while_the_database_is_away(story: Story, server: PostgreSQLServer, how: How) -> None:
    await begin(story)
    longer = await story.submit_and_see("up", WAIT)
    ending = await story.submit_and_see("up", f"{WAIT}; exit 7")
    async with away(server, how):
        assert "database cannot be used" in str(await refusal(story))
        story.let_end(ending)
        await story.wrote(ending, "down\n")
    assert (await story.ends(ending, "failed", "up\ndown\n"))["exit_code"] == 7
    story.let_end(longer)
    await story.ends(longer, "succeeded", "up\ndown\n")


async def test_parts_that_start_while_the_database_is_away_wait_for_it(story: Story, server: PostgreSQLServer) -> None:
    await begin(story)
    job = await story.submit_and_see("up", WAIT)
    (controller,) = story.controllers
    controller.kill()
    story.server.kill()
    async with away(server, "fast"):
        story.let_end(job)
        story.server.launch()
        story.controller()
        await asyncio.sleep(1)
    await story.ends(job, "succeeded", "up\ndown\n")


@EACH_WAY
async def test_a_submission_is_accepted_once_or_refused(story: Story, server: PostgreSQLServer, how: How) -> None:
    await begin(story, MAX_CONCURRENCY="8")
    accepted: dict[int, str] = {}
    refused: set[int] = set()
    is_over = False

    async def submit(number: int) -> None:
        while not is_over:
            number += SUBMITTERS
            try:
                request = {"image": story.image, "command": f"echo {number}", "labels": {"number": str(number)}}
                accepted[number] = await story.client.create_job(request)
            except SubmissionUncertain:
                await asyncio.sleep(0.05)
            except ClientError:
                refused.add(number)
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)

    submitting = [asyncio.create_task(submit(number)) for number in range(SUBMITTERS)]
    for _ in range(2):
        before = len(accepted)
        await eventually(lambda before=before: len(accepted) > before + 4)  # type: ignore[misc]
        async with away(server, how):
            await asyncio.sleep(0.2)
    is_over = True
    await asyncio.gather(*submitting)
    listed: dict[int, list[str]] = {}
    for job in await story.client.list_jobs(limit=10_000):
        listed.setdefault(int(job["labels"]["number"]), []).append(job["job_id"])
    assert {number: listed.get(number) for number in accepted} == {n: [job] for n, job in accepted.items()}
    assert [number for number, jobs in listed.items() if len(jobs) > 1 or number in refused] == []
    for number, (job_id,) in listed.items():
        await story.ends(job_id, "succeeded", f"{number}\n")


async def test_sessions_that_are_ended_again_and_again(story: Story, server: PostgreSQLServer) -> None:
    await begin(story)
    database = story.environment["CI_DATABASE_URL"].rpartition("/")[2]
    is_over = False

    async def end_sessions() -> int:
        ended = 0
        while not is_over:
            ended += await asyncio.to_thread(server.end_connections, database)
            await asyncio.sleep(0.2)
        return ended

    ending = asyncio.create_task(end_sessions())
    for number in range(5):
        job_id = await patiently(story, f"echo {number}; exit {number}")
        assert (await story.ends(job_id, "failed" if number else "succeeded", f"{number}\n"))["exit_code"] == number
    is_over = True
    assert await ending > 10


async def patiently(story: Story, command: str) -> str:
    """Submit a job, however often the database is away."""
    while True:
        try:
            return await story.submit(command)
        except ClientError:
            await asyncio.sleep(0.05)


async def test_what_a_reader_has_is_whole_after_restarts(story: Story, server: PostgreSQLServer) -> None:
    await begin(story)
    job = await story.submit_and_see("up", WAIT)
    reading = asyncio.create_task(story.read(job))
    await eventually(lambda: "up\n" in story.received, "the reader has the first line")
    for how in ("kill", "fast"):
        async with away(server, how):
            await refusal(story)
    story.let_end(job)
    assert await reading == "up\ndown\n"
    assert await text_of(story.client, job) == "up\ndown\n"
