"""kill -9 of the controller at every step it persists or takes: the job ends with its true result, having run once."""

import asyncio
import hashlib
import subprocess

import pytest

from ci_common.jobs import Conclusion, State
from tests.helpers.installation import Installation, completed, reached
from tests.helpers.waiting import eventually

POINTS = [
    f"{call}/{moment}"
    for call in ("update/1", "create/1", "start/1", "update/2", "update/3", "stop/1", "reclaim/1", "remove/1")
    for moment in ("before", "after")
] + [f"look/{number}/after" for number in (1, 2, 3, 4)]
"""update/1 writes STARTING, update/2 RUNNING (after it the gate is still shut), update/3 COMPLETED."""


@pytest.mark.parametrize("point", POINTS)
async def test_a_job_survives_its_controller(installation: Installation, point: str) -> None:
    job = await installation.submit("echo begin; mkdir /tmp/$$-dir 2>/dev/null; echo end", "echo second; exit 5")
    crashed = installation.start_crashing_controller(point)
    assert await asyncio.to_thread(crashed.wait, 60) == -9, "the controller dies at this point"

    async with installation.repository() as repository, installation.controller() as parts:
        ended = await completed(repository, job.id)
        assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 5)
        log = installation.log_of(ended)
        assert log == b"begin\nend\nsecond\n", "the job's code ran once, and nothing of its log is missing"
        assert ended.log_bytes == len(log)
        assert ended.log_sha256 == hashlib.sha256(log).hexdigest()
        assert [step.exit_code for step in ended.steps] == [0, 5]
        runtime = parts.runtimes[installation.runtime]
        await eventually(lambda: installation.files_left(ended) <= {"log"}, "nothing but the log is left")

        async def nothing_listed() -> bool:
            return await runtime.list_workloads() == []

        await eventually(nothing_listed, "no workload is left")


@pytest.mark.parametrize("point", ["update/3/before", "update/3/after", "stop/1/before", "update/4/before"])
async def test_a_cancel_survives_the_controller(installation: Installation, point: str) -> None:
    """update/3 writes that the job is to be stopped, update/4 COMPLETED."""
    job = await installation.submit("trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.05; done")
    async with installation.repository() as repository:
        crashing = installation.start_crashing_controller(point)
        await reached(repository, job.id, State.RUNNING)
        await eventually(lambda: installation.log_of(job) == b"up\n", "the job is up")
        await repository.request_cancel(job.id, job.submit_time)
        assert await asyncio.to_thread(crashing.wait, 60) == -9
        async with installation.controller():
            ended = await completed(repository, job.id)
    assert (ended.conclusion, ended.exit_code) == (Conclusion.CANCELLED, 9)
    # In between, some shells say that their `sleep` was terminated.
    assert installation.log_of(ended).startswith(b"up\n")
    assert installation.log_of(ended).endswith(b"term\n")


async def test_what_ended_while_nobody_looked_has_its_true_result(installation: Installation) -> None:
    job = await installation.submit("echo one; sleep 0.3; echo two; exit 4")
    crashing = installation.start_crashing_controller("no_such_call/1/before")
    async with installation.repository() as repository:
        await reached(repository, job.id, State.RUNNING)
        crashing.kill()
        await asyncio.to_thread(crashing.wait, 60)
        run = installation.data.run(job.id, 1)
        await eventually(lambda: run.read_exit() is not None, "the script has ended")
        async with installation.controller():
            ended = await completed(repository, job.id)
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 4)
    assert installation.log_of(ended) == b"one\ntwo\n"


async def test_a_standby_takes_over_at_once_from_a_leader_that_was_killed(installation: Installation) -> None:
    leader: subprocess.Popen[bytes] = installation.start_crashing_controller("no_such_call/1/before")
    async with installation.repository() as repository:
        first = await installation.submit("echo first")
        await completed(repository, first.id)
        async with installation.controller():
            leader.kill()
            await asyncio.to_thread(leader.wait, 60)
            second = await installation.submit("echo second")
            assert (await completed(repository, second.id, within=10)).conclusion is Conclusion.SUCCEEDED
