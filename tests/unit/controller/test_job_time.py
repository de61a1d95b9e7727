"""How long a job has run does not depend on anybody setting the clock."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ci_common.jobs import Job, State
from ci_controller.job_writer import OutputTime, now_of, start_of_run
from tests.helpers.jobs import NOON, SetUptime


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


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_silence_is_timed_by_the_uptime_too(hours: int) -> None:
    output, second, set_by = OutputTime(), timedelta(seconds=1), timedelta(hours=hours)
    assert output.last(NOON, NOON + 2 * second, NOON + 2 * second) == NOON
    assert output.last(NOON, NOON + 3 * second, NOON + 3 * second + set_by) == NOON, "the file's date is the same"
    written = NOON + 4 * second + set_by
    now = NOON + 5 * second
    assert output.last(written, now, now + set_by) == NOON + 4 * second
    assert output.last(written + second, now + 2 * second, now) >= now, "written since the last look, at the earliest"
    assert output.last(None, now, now) is None
