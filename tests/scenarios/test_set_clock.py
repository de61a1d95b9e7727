"""The clock is set by hours, in either direction: no job ends, waits or starts because of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ci_common.jobs import Conclusion, ReasonCode, State
from tests.helpers.installation import Installation, completed, reached
from tests.helpers.jobs import SetClock
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.parametrize("hours", [-5, 5])
UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.05; done; exit 4"


@pytest.fixture
def installation(installation: Installation) -> Installation:
    return replace(installation, environment={**installation.environment, "CI_RECONCILE_INTERVAL": "0.1"})


async def test_a_job_that_runs_keeps_its_time(installation: Installation, hours: int) -> None:
    """Also for a controller that is started after the clock was set."""
    job = await installation.submit(UNTIL_TOLD, timeout=600)
    clock = SetClock()
    async with installation.storage() as storage:
        async with installation.controller(clock=clock):
            await eventually(lambda: installation.says(job, b"up\n"), "the job is up")
            clock.off = timedelta(hours=hours)
            await clock.asked_again()
        async with installation.controller(clock=clock):
            await clock.asked_again()
            (installation.data.run(job.id, 1).workspace / "go").touch()
            ended = await completed(storage, job.id)
    assert (ended.conclusion, ended.exit_code) == (Conclusion.FAILED, 4)
    assert ended.start_time is not None
    assert ended.end_time is not None
    assert ended.end_time >= ended.start_time


async def test_a_deadline_comes_when_it_is_due(installation: Installation, hours: int) -> None:
    job = await installation.submit("echo up; while :; do sleep 0.05; done", timeout=3)
    clock = SetClock()
    async with installation.storage() as storage, installation.controller(clock=clock):
        await reached(storage, job.id, State.RUNNING)
        clock.off = timedelta(hours=hours)
        ended = await completed(storage, job.id)
    assert ended.reason is not None
    assert ended.reason.code is ReasonCode.DEADLINE_EXCEEDED
