"""Jobs that wait: their streams stay open and tell why."""

import asyncio

import pytest

from ci_client.aio import CiClient
from tests.helpers.service import Service, finished, says, until, waits_for


@pytest.fixture
def one_slot(start) -> Service:
    return start(MAX_CONCURRENCY="1")


async def test_a_job_queued_for_more_than_a_minute(one_slot: Service, shell_image: str) -> None:
    async with CiClient(one_slot.url) as client:
        blocker = await client.create_job({"image": shell_image, "command": "echo up; sleep 64"})
        await until(client, blocker, says("up"))
        queued = await client.create_job({"image": shell_image, "command": "echo my turn; exit 2"})
        events = await until(client, queued, lambda event: event["type"] == "complete", within=120)
    assert any(waits_for("waiting_for_slot")(event) for event in events)
    assert "".join(event["data"] for event in events if event["type"] == "log") == "my turn\n"
    assert (events[-1]["conclusion"], events[-1]["exit_code"]) == ("failed", 2)


async def test_higher_priority_first_then_first_come_first_served(one_slot: Service, shell_image: str) -> None:
    async with CiClient(one_slot.url) as client:
        blocker = await client.create_job({"image": shell_image, "command": "echo up; sleep 60"})
        await until(client, blocker, says("up"))
        ids = [
            await client.create_job({"image": shell_image, "command": "true", "priority": priority})
            for priority in (0, 0, 5, -1)
        ]
        await client.cancel_job(blocker)
        jobs = await asyncio.gather(*(finished(client, job_id) for job_id in ids))
    started = sorted(range(4), key=lambda number: jobs[number]["start_time"])
    assert started == [2, 0, 1, 3]
