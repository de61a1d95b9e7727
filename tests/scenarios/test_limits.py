"""Limits that the controller sees to, on every runtime: time, silence, log and workspace, also across its death.

A shell whose command was ended by SIGTERM may say so in the log.
"""

import asyncio
import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ci_common.jobs import Conclusion, Job, ReasonCode, State
from tests.helpers.installation import Installation, completed, installation_of, reached
from tests.helpers.waiting import eventually

LIMIT = 1024**2
FLOOD = "dd if=/dev/zero bs=1048576 count=400 2>/dev/null; while :; do sleep 1; done"
"""Writes as fast as the machine can, though not more than the disk of a machine that runs tests can hold."""


def how(job: Job) -> tuple[Conclusion | None, ReasonCode | None]:
    return job.conclusion, job.reason.code if job.reason is not None else None


async def run(installation: Installation, *shell: str, **plan: object) -> Job:
    """Submit a job, run it under one controller and return it completed."""
    job = await installation.submit(*shell, plan=plan)
    async with installation.storage() as storage, installation.controller():
        return await completed(storage, job.id)


async def run_without_a_controller_for(
    installation: Installation, seconds: float, *shell: str, ends: bool = False, **plan: object
) -> Job:
    """Kill the controller of a job that runs, let time pass, and return the job as the next controller ends it."""
    job = await installation.submit(*shell, plan=plan)
    crashing = installation.start_crashing_controller("no_such_call/1/before")
    async with installation.storage() as storage:
        await reached(storage, job.id, State.RUNNING)
        await eventually(lambda: installation.log_of(job) != b"", "the job has begun")
        crashing.kill()
        await asyncio.to_thread(crashing.wait, 60)
        if ends:
            run = installation.data.run(job.id, 1)
            await eventually(lambda: run.read_exit() is not None, "the script has ended")
        begun = (await storage.jobs.get(job.id)).start_time
        assert begun is not None
        await eventually(lambda: time.time() > begun.timestamp() + seconds, "the time has passed")
        async with installation.controller():
            return await completed(storage, job.id)


async def test_a_deadline_that_passed_without_a_controller(installation: Installation) -> None:
    job = await run_without_a_controller_for(installation, 2, "echo up; exec sleep 600", timeout=2)
    assert how(job) == (Conclusion.TIMED_OUT, ReasonCode.DEADLINE_EXCEEDED)
    assert installation.log_of(job).startswith(b"up\n")


async def test_a_job_that_ended_by_itself_has_not_timed_out(installation: Installation) -> None:
    job = await run_without_a_controller_for(
        installation, 2, "echo up; sleep 0.3; echo end; exit 4", timeout=2, no_output_timeout=1.5, ends=True
    )
    assert (job.conclusion, job.exit_code) == (Conclusion.FAILED, 4)
    assert installation.log_of(job) == b"up\nend\n"


async def test_a_job_that_falls_silent(installation: Installation) -> None:
    job = await run(installation, "for i in 1 2 3 4 5; do echo $i; sleep 1; done; exec sleep 600", no_output_timeout=4)
    assert how(job) == (Conclusion.TIMED_OUT, ReasonCode.NO_OUTPUT)
    assert installation.log_of(job).startswith(b"1\n2\n3\n4\n5\n"), "it was let alone as long as it said something"


async def test_a_job_that_never_says_anything(installation: Installation) -> None:
    job = await run(installation, "sleep 600", no_output_timeout=0.5)
    assert how(job) == (Conclusion.TIMED_OUT, ReasonCode.NO_OUTPUT)
    assert job.start_time is not None
    assert job.end_time is not None
    assert (job.end_time - job.start_time).total_seconds() > 0.5


async def test_silence_that_no_controller_saw(installation: Installation) -> None:
    job = await run_without_a_controller_for(installation, 2, "echo up; exec sleep 600", no_output_timeout=1.5)
    assert how(job) == (Conclusion.TIMED_OUT, ReasonCode.NO_OUTPUT)


async def test_a_job_that_spoke_while_no_controller_looked(installation: Installation) -> None:
    talking = "echo up; for i in $(seq 20); do sleep 0.2; echo $i; done; exit 3"
    job = await run_without_a_controller_for(installation, 3.2, talking, no_output_timeout=3)
    assert (job.conclusion, job.exit_code) == (Conclusion.FAILED, 3)


async def test_a_log_that_grows_over_its_limit(installation: Installation) -> None:
    job = await run(installation, FLOOD, limits={"log": LIMIT})
    assert how(job) == (Conclusion.ERRORED, ReasonCode.LOG_LIMIT)
    log = installation.log_of(job)
    assert len(log) > LIMIT
    flood = log.removesuffix(b"Terminated\n")
    assert flood.count(0) == len(flood), "what was written is complete"
    assert (job.log_bytes, job.log_sha256) == (len(log), hashlib.sha256(log).hexdigest())
    assert job.reason is not None
    assert str(LIMIT) in job.reason.message
    assert str(len(log)) in job.reason.message


async def test_a_fast_log_is_not_left_to_the_interval(installation: Installation) -> None:
    slow_to_look = replace(installation, environment={**installation.environment, "CI_RECONCILE_INTERVAL": "600"})
    job = await run(slow_to_look, f"sleep 2; {FLOOD}", limits={"log": LIMIT})
    assert how(job) == (Conclusion.ERRORED, ReasonCode.LOG_LIMIT)


async def test_the_grace_is_not_for_writing(installation: Installation) -> None:
    job = await run(installation, f"trap '' TERM; {FLOOD}", limits={"log": LIMIT}, stop_grace=600)
    assert how(job) == (Conclusion.ERRORED, ReasonCode.LOG_LIMIT)
    assert job.log_bytes is not None
    assert job.log_bytes > 64 * LIMIT, "the grace is ended by what is written, not at once"


async def test_what_a_job_writes_at_its_stop_is_kept(installation: Installation) -> None:
    tidy = "trap 'echo tidied; exit 0' TERM; yes | head -c 2000000; while :; do sleep 0.1; done"
    job = await run(installation, tidy, limits={"log": LIMIT})
    assert how(job) == (Conclusion.ERRORED, ReasonCode.LOG_LIMIT)
    assert installation.log_of(job).endswith(b"tidied\n")


async def test_a_job_that_has_ended_keeps_its_result_whatever_it_wrote(installation: Installation) -> None:
    large = "echo up; sleep 1; head -c 3000000 /dev/zero; exit 6"
    job = await run_without_a_controller_for(installation, 1, large, ends=True, limits={"log": LIMIT})
    assert (job.conclusion, job.exit_code, job.log_bytes) == (Conclusion.FAILED, 6, 3_000_003)


async def test_a_workspace_that_grows_over_its_limit(installation: Installation) -> None:
    filling = "mkdir -p a/b; dd if=/dev/zero of=a/b/file bs=1048576 count=3 2>/dev/null; echo filled; sleep 600"
    job = await run(installation, filling, limits={"workspace": LIMIT})
    assert how(job) == (Conclusion.ERRORED, ReasonCode.WORKSPACE_LIMIT)
    assert installation.log_of(job).startswith(b"filled\n")


async def test_a_workspace_within_its_limit(installation: Installation) -> None:
    job = await run(installation, "head -c 100000 /dev/zero >file; sleep 0.5", limits={"workspace": LIMIT})
    assert job.conclusion is Conclusion.SUCCEEDED


@pytest.mark.parametrize("own", [0.0, 1.0])
async def test_a_jobs_own_grace_counts(installation: Installation, own: float) -> None:
    """The installation's is longer than a test may take."""
    patient = replace(installation, environment={**installation.environment, "CI_STOP_GRACE": "600"})
    deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    job = await run(patient, deaf, timeout=0.5, stop_grace=own)
    assert how(job) == (Conclusion.TIMED_OUT, ReasonCode.DEADLINE_EXCEEDED)
    assert job.start_time is not None
    assert job.end_time is not None
    assert (job.end_time - job.start_time).total_seconds() > 0.5 + own


async def test_a_limit_that_nothing_enforces_is_refused(tmp_path: Path) -> None:
    """As is a job with a limit on memory where jobs run as processes."""
    job = await run(installation_of(tmp_path, "process", "none"), "echo never", limits={"memory": "1g"})
    assert how(job) == (Conclusion.ERRORED, ReasonCode.LIMIT_UNENFORCEABLE)
    assert (job.start_time, job.log_bytes) == (None, 0)
    assert job.error is not None
    assert "limits.memory" in job.error
