"""How long a job has run does not depend on anybody setting the clock."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ci_common.jobs import Job, State
from ci_controller.job_time import now_of, start_of_run
from tests.helpers.clocks import SetUptime
from tests.helpers.jobs import NOON


def running(uptime: SetUptime) -> Job:
    job = Job(id="j", type="container", submit_time=NOON, state=State.RUNNING)
    return replace(job, **start_of_run(lambda: NOON, uptime))


@pytest.mark.parametrize("hours", [-5, 0, 5])
def test_a_job_that_runs_is_timed_by_the_uptime(hours: int) -> None:
    uptime = SetUptime()
    job = running(uptime)
    uptime.seconds += 7
    assert now_of(job, lambda: NOON + timedelta(hours=hours), uptime) == NOON + timedelta(seconds=7)


def test_after_another_boot_only_the_clock_is_left() -> None:
    later = NOON + timedelta(hours=1)
    assert now_of(replace(running(SetUptime()), start_boot="another"), lambda: later, SetUptime(1.0)) == later


def test_a_job_that_does_not_run_has_the_clocks_time() -> None:
    later = NOON + timedelta(hours=1)
    assert now_of(Job(id="j", type="container", submit_time=NOON), lambda: later, SetUptime()) == later
