"""Another program locks the database for longer than any client waits for it: a backup, a forgotten shell."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest

from ci_client.aio import CiClient
from tests.e2e.conftest import Starter
from tests.helpers.service import finished, says, text_of, until
from tests.helpers.waiting import eventually

LOCKED_SECONDS = 10.0
"""Twice as long as a write waits, and longer than the lease here."""


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return environment | {"CI_LEASE_SECONDS": "4", "MAX_CONCURRENCY": "2"}


async def test_jobs_go_on_and_all_is_well_afterwards(
    start: Starter, environment: dict[str, str], shell_image: str
) -> None:
    service = start()
    async with CiClient(service.url) as client:
        running = await client.create_job({"image": shell_image, "command": "echo up; while :; do sleep 0.05; done"})
        await until(client, running, says("up"))
        ending = await client.create_job({"image": shell_image, "command": "echo one; sleep 3; echo two; exit 5"})
        await until(client, ending, says("one"))
        with (
            closing(sqlite3.connect(environment["CI_DB_PATH"], isolation_level=None)) as other,
            service.client() as http,
        ):
            other.execute("BEGIN EXCLUSIVE")
            locked_at = time.monotonic()
            refused = await asyncio.to_thread(http.post, "/jobs", json={"type": "echo", "payload": {}})
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert "locked" in refused.json()["detail"]
            await until(client, ending, says("two"))
            assert (await client.get_job(ending))["status"] == "running", "its end cannot be written down yet"
            assert (await client.health())["status"] == "ok"
            await eventually(lambda: time.monotonic() > locked_at + LOCKED_SECONDS)
            other.execute("ROLLBACK")
        assert (await finished(client, ending))["exit_code"] == 5
        assert await text_of(client, ending) == "one\ntwo\n"
        await client.cancel_job(running)
        assert (await finished(client, running))["conclusion"] == "cancelled"
        later = await client.create_job({"image": shell_image, "command": "echo later"})
        assert (await finished(client, later))["conclusion"] == "succeeded"
    assert not any("Traceback" in line for line in service.said)
    assert service.stop() == 0
