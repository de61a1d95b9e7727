"""Deciding on one job at one phase of it, in a few words."""

from datetime import UTC, datetime, timedelta

from ci_common.jobs import Job, ReasonCode, State
from ci_common.run_directory.exits import ExitRecord
from ci_controller.plan import Action, Complete, plan
from ci_controller.policy import JobLimits, Observation, Verdict, WorkloadPhase

T0 = datetime(2026, 1, 1, tzinfo=UTC)
TIMEOUT = 100.0
LIMITS = JobLimits(timeout=TIMEOUT)


def job(state: State, *, cancelled: bool = False, stopping: ReasonCode | None = None) -> Job:
    return Job(
        id="j",
        type="container",
        submit_time=T0,
        state=state,
        start_time=T0 if state in (State.RUNNING, State.COMPLETED) else None,
        cancel_requested_time=T0 if cancelled else None,
        stop_code=stopping,
    )


def seen(phase: WorkloadPhase, code: int | None = None, **more: object) -> Observation:
    exit_record = None if code is None else ExitRecord(code, terminated=bool(more.pop("terminated", False)))
    return Observation(phase, exit=exit_record, **more)  # type: ignore[arg-type]


def decide(j: Job, s: Observation, *, after: float = 1.0, limits: JobLimits = LIMITS) -> Action:
    return plan(j, s, T0 + timedelta(seconds=after), limits=limits)


def verdict(action: Action) -> Verdict:
    assert isinstance(action, Complete)
    return action.verdict


QUEUED, STARTING, RUNNING, COMPLETED = State.QUEUED, State.STARTING, State.RUNNING, State.COMPLETED
