"""How a job or one of its attempts ends: what it left is collected, and the row is written."""

import logging
from datetime import datetime, timedelta
from typing import Any

from ci_common.attempts.parts import JobCache
from ci_common.errors import LeadershipLost, NoRoom
from ci_common.jobs import Attempt, Conclusion, Job, Reason, ReasonCode, State
from ci_common.runtime_faults import RuntimeUnavailable
from ci_common.spec import Retry
from ci_common.times import Milestone
from ci_controller.execution.protocol import Collected, Execution, Scope
from ci_controller.job_writer import JobWriter
from ci_controller.plan import Complete, Jitter, Requeue, pause_after
from ci_controller.policy import Verdict

log = logging.getLogger(__name__)


async def end(
    job: Job, action: Complete | Requeue, *, writer: JobWriter, execution: Execution, jitter: Jitter
) -> Job | None:
    """Carry out `action`, and return the row if the job has completed. Raises as `complete` does."""

    async def write() -> Job | None:
        match action:
            case Complete(verdict):
                return await complete(job, verdict, writer=writer, execution=execution)
            case Requeue(verdict, retry):
                await requeue(job, verdict, retry, writer=writer, execution=execution, jitter=jitter)
        return None

    try:
        return await write()
    except NoRoom as exc:
        # What would make room is removed only after the end is written, which needs room.
        log.error("job %s: %s; its workspace is removed before its end is written", job.id, exc)
        await execution.clean_up(job, Scope.WORKSPACE)
        return await write()


async def complete(job: Job, verdict: Verdict, *, writer: JobWriter, execution: Execution) -> Job:
    """End `job` with `verdict` and return it. Raises StaleWrite if its row has changed since, RuntimeUnavailable."""
    return await write_end(job, verdict, await _collect(job, verdict, writer, execution), writer)


async def end_anyway(job: Job, verdict: Verdict, *, writer: JobWriter, execution: Execution) -> None:
    """End `job` with `verdict`, even if what runs it cannot be stopped before that. Raises as `complete` does."""
    try:
        await execution.stop(job, 0)
    except (RuntimeUnavailable, LeadershipLost):
        raise
    except Exception:  # It may be what keeps failing.
        log.exception("job %s: what runs it cannot be stopped before its end is written", job.id)
    await complete(job, verdict, writer=writer, execution=execution)


async def _collect(job: Job, verdict: Verdict, writer: JobWriter, execution: Execution) -> Collected:
    """Return what the attempt left, and note its milestones."""
    left = await execution.collect(job, verdict.conclusion)
    timeline = writer.timelines.of(job)
    timeline.fill_in(left.milestones)
    timeline.note(Milestone.COLLECTED)
    return left


async def write_end(job: Job, verdict: Verdict, left: Collected, writer: JobWriter) -> Job:
    """Write that `job` has ended with `verdict`, and what it left. Raises StaleWrite."""
    errored = verdict.reason is not None and verdict.conclusion is Conclusion.ERRORED
    writer.timelines.of(job).note(Milestone.COMPLETING)
    done = await writer.write(
        job,
        state=State.COMPLETED,
        end_time=_end_of(job, writer.clock()),
        not_before=None,
        conclusion=verdict.conclusion,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        error=verdict.reason.message if errored and verdict.reason else None,
        **_changes_of(left),
    )
    log.info("job %s (%s) completed: %s", job.id, job.type, verdict.conclusion)
    return done


async def requeue(
    job: Job, verdict: Verdict, retry: Retry, *, writer: JobWriter, execution: Execution, jitter: Jitter
) -> Job:
    """End an attempt of `job` with `verdict`, queue the next one and return the job. Raises as `complete` does."""
    left = await _collect(job, verdict, writer, execution)
    timeline = writer.timelines.of(job)
    timeline.note(Milestone.COMPLETING)
    end = _end_of(job, writer.clock())
    pause = pause_after(job.attempt, retry, jitter)
    ended = Attempt(
        number=job.attempt,
        conclusion=verdict.conclusion,
        end_time=end,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        start_time=job.start_time,
        runtime=job.runtime,
        start_way=job.start_way,
        environment=job.environment,
        trace=timeline.times(),
        **_changes_of(left),
    )
    again = await writer.write(
        job,
        state=State.QUEUED,
        attempt=job.attempt + 1,
        earlier_attempts=(*job.earlier_attempts, ended),
        not_before=end + pause,
        reason=Reason(ReasonCode.BACKING_OFF, _why_it_waits(job, verdict, pause, end + pause)),
        start_time=None,
        start_boot=None,
        start_uptime=None,
        runtime=None,
        start_way=None,
        environment=None,
        caches=(),
        tests=None,
        artifacts=None,
        trace={},
        stop_code=None,
    )
    log.info("job %s: attempt %d of %d ended: %s", job.id, job.attempt, job.max_attempts, verdict.conclusion)
    return again


def _changes_of(left: Collected) -> dict[str, Any]:
    result = {} if left.result is None else {"result": left.result}
    return {
        "steps": left.steps,
        "log_bytes": left.log_bytes,
        "log_sha256": left.log_sha256,
        "caches": left.caches,
        "tests": left.tests,
        "results": left.results,
        "resources": left.resources,
        "used_image": left.used_image,
        "artifacts": left.artifacts,
        **result,
    }


def _why_it_waits(job: Job, verdict: Verdict, pause: timedelta, not_before: datetime) -> str:
    why = f": {verdict.reason.message}" if verdict.reason else ""
    return (
        f"attempt {job.attempt + 1} of {job.max_attempts} begins in {pause.total_seconds():.1f} s, at "
        f"{not_before:%Y-%m-%d %H:%M:%S} UTC; attempt {job.attempt} {verdict.conclusion}{why}"
    )


def _end_of(job: Job, now: datetime) -> datetime:
    """Return when an attempt ended; never before its start, however the clock has been set."""
    return max(now, job.start_time or job.submit_time)


async def note_cleaned(
    job: Job, writer: JobWriter, row: Job | None, caches: tuple[JobCache, ...] | None = None
) -> None:
    """Write what has become of a job's caches, and the milestones after its end.

    Nothing else ever changes of a job that has completed.

    Those of an attempt that another has followed are in the row already. `row` is the job's where it is known. Raises
    JobNotFound, StaleWrite, LeadershipLost.
    """
    row = row or await writer.storage.jobs.get(job.id)
    if row.attempt == job.attempt and row.state is State.COMPLETED:
        writer.timelines.of(row).note(Milestone.CLEARED)
        changes: dict[str, Any] = {} if caches is None else {"caches": caches}
        await writer.write(row, **changes)
