"""Cancel and timeout, in every state a job can be in."""

import time
from contextlib import suppress

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.helpers.service import Service, finished, says, text_of, until

IGNORING = "trap '' TERM; echo up; while :; do sleep 0.1; done"
HANDLING = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.1; done"


async def test_cancel_of_a_running_job_reaches_its_own_processes(service: Service, shell_image: str) -> None:
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": shell_image, "command": ["/bin/sh", "-c", HANDLING]})
        await until(client, job_id, says("up"))
        asked = await client.cancel_job(job_id)
        again = await client.cancel_job(job_id)
        assert asked["cancel_requested_time"] == again["cancel_requested_time"] is not None
        job = await finished(client, job_id)
        assert (job["conclusion"], job["exit_code"], job["reason"]["code"]) == ("cancelled", 9, "cancelled")
        said = (await text_of(client, job_id)).splitlines()
        assert (said[0], said[-1]) == ("up", "caught"), "in between, some shells say that sleep was terminated"
        with pytest.raises(ServerError) as refused:
            await client.cancel_job(job_id)
        assert refused.value.status == 409


async def test_a_job_that_ignores_sigterm_is_killed_after_the_grace_period(service: Service, shell_image: str) -> None:
    async with CiClient(service.url) as client:
        job_id = await client.create_job({"image": shell_image, "command": ["/bin/sh", "-c", IGNORING]})
        await until(client, job_id, says("up"))
        begun = time.monotonic()
        await client.cancel_job(job_id)
        job = await finished(client, job_id)
        assert job["conclusion"] == "cancelled"
        assert time.monotonic() - begun > 2.9, "the grace period of 3 s is real"


async def test_cancel_of_a_queued_job(start, shell_image: str) -> None:
    service = start(MAX_CONCURRENCY="1")
    async with CiClient(service.url) as client:
        running = await client.create_job({"image": shell_image, "command": "echo up; sleep 60"})
        await until(client, running, says("up"))
        queued = await client.create_job({"image": shell_image, "command": "echo never"})
        await client.cancel_job(queued)
        job = await finished(client, queued)
        assert (job["conclusion"], job["start_time"], job["exit_code"], job["log_bytes"]) == (
            "cancelled",
            None,
            None,
            0,
        )
        await client.cancel_job(running)
        assert (await finished(client, running))["conclusion"] == "cancelled"


async def test_cancel_of_a_starting_job(service: Service, shell_image: str) -> None:
    async with CiClient(service.url) as client:
        for _ in range(5):
            job_id = await client.create_job({"image": shell_image, "command": "sleep 60"})
            await client.cancel_job(job_id)
            assert (await finished(client, job_id))["conclusion"] == "cancelled"


async def test_cancel_of_a_job_that_is_about_to_end_never_loses_its_result(service: Service, shell_image: str) -> None:
    async with CiClient(service.url) as client:
        for _ in range(5):
            job_id = await client.create_job({"image": shell_image, "command": "echo last words; exit 3"})
            await until(client, job_id, says("last words"))
            with suppress(ServerError):
                await client.cancel_job(job_id)
            job = await finished(client, job_id)
            assert await text_of(client, job_id) == "last words\n"
            assert job["conclusion"] in ("failed", "cancelled")
            assert job["conclusion"] == "cancelled" or job["exit_code"] == 3


@pytest.mark.parametrize(("command", "exit_code"), [(HANDLING, 9), (IGNORING, 137)])
async def test_timeout(service: Service, shell_image: str, command: str, exit_code: int) -> None:
    async with CiClient(service.url) as client:
        request = {"image": shell_image, "command": ["/bin/sh", "-c", command], "timeout": "1s"}
        job = await finished(client, await client.create_job(request))
        assert (job["conclusion"], job["exit_code"]) == ("timed_out", exit_code)
        assert job["reason"]["code"] == "deadline_exceeded"


async def test_builtin_jobs_share_slots_and_can_be_cancelled(start) -> None:
    service = start(MAX_CONCURRENCY="2")
    async with CiClient(service.url) as client:
        echo = await finished(client, await client.create_job({"type": "echo", "payload": {"message": "hello"}}))
        assert (echo["conclusion"], echo["result"]) == ("succeeded", '{"message": "hello"}')
        naps = [await client.create_job({"type": "sleep", "payload": {"ms": 300}}) for _ in range(4)]
        jobs = [await finished(client, job_id) for job_id in naps]
        assert {(job["conclusion"], job["result"]) for job in jobs} == {("succeeded", '"ok"')}
        moments = sorted([(j["start_time"], 1) for j in jobs] + [(j["end_time"], -1) for j in jobs])
        running = [sum(change for _, change in moments[: n + 1]) for n in range(len(moments))]
        assert max(running) <= 2
        long = await client.create_job({"type": "sleep", "payload": {"ms": 60_000}})
        await client.cancel_job(long)
        assert (await finished(client, long))["conclusion"] == "cancelled"
