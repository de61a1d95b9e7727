"""How a job or one of its attempts ends: what it left is collected, the row is written, everything else is removed."""

import logging
from datetime import datetime, timedelta
from typing import Any

from ci_common.errors import ImageFault, LeadershipLost, RuntimeUnavailable, StartFault
from ci_common.jobs import Attempt, Conclusion, Job, Reason, ReasonCode, State
from ci_common.spec import Retry
from ci_common.times import Milestone
from ci_controller.execution.protocol import Execution
from ci_controller.job_writer import JobWriter
from ci_controller.policy.retry import Chance, pause_after
from ci_controller.policy.verdicts import Verdict

log = logging.getLogger(__name__)


async def complete(job: Job, verdict: Verdict, *, writer: JobWriter, execution: Execution) -> Job:
    """End `job` with `verdict` and return it. Raises StaleWrite where its row changed meanwhile, RuntimeUnavailable."""
    return await write_end(job, verdict, await _collected(job, writer, execution), writer)


async def end_anyway(job: Job, verdict: Verdict, *, writer: JobWriter, execution: Execution) -> None:
    """End `job` with `verdict`, whether what runs it can be stopped before that or not. Raises as `complete` does."""
    try:
        await execution.stop(job, 0)
    except (RuntimeUnavailable, LeadershipLost):
        raise
    except Exception:  # It may be what keeps failing.
        log.exception("job %s: what runs it cannot be stopped before its end is written", job.id)
    await complete(job, verdict, writer=writer, execution=execution)


async def _collected(job: Job, writer: JobWriter, execution: Execution) -> dict[str, Any]:
    """Return what the attempt left, all the stations that are known of its path included."""
    left = await execution.collect(job)
    trace = writer.timelines.of(job)
    trace.fill_in(execution.passed(job))
    trace.note(Milestone.COLLECTED)
    return left


async def write_end(job: Job, verdict: Verdict, left: dict[str, Any], writer: JobWriter) -> Job:
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
        **left,
    )
    log.info("job %s (%s) completed: %s", job.id, job.type, verdict.conclusion)
    return done


async def try_again(
    job: Job, verdict: Verdict, retry: Retry, *, writer: JobWriter, execution: Execution, chance: Chance
) -> Job:
    """End an attempt of `job` with `verdict`, queue the next one and return the job. Raises as `complete` does."""
    left = await _collected(job, writer, execution)
    trace = writer.timelines.of(job)
    trace.note(Milestone.COMPLETING)
    end = _end_of(job, writer.clock())
    pause = pause_after(job.attempt, retry, chance)
    ended = Attempt(
        number=job.attempt,
        conclusion=verdict.conclusion,
        end_time=end,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        start_time=job.start_time,
        runtime=job.runtime,
        start_way=job.start_way,
        workload=job.workload,
        trace=trace.times(),
        **left,
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
        workload=None,
        trace={},
        stop_code=None,
    )
    log.info("job %s: attempt %d of %d ended: %s", job.id, job.attempt, job.max_attempts, verdict.conclusion)
    return again


def _why_it_waits(job: Job, verdict: Verdict, pause: timedelta, not_before: datetime) -> str:
    why = f": {verdict.reason.message}" if verdict.reason else ""
    return (
        f"attempt {job.attempt + 1} of {job.max_attempts} begins in {pause.total_seconds():.1f} s, at "
        f"{not_before:%Y-%m-%d %H:%M:%S} UTC; attempt {job.attempt} {verdict.conclusion}{why}"
    )


def _end_of(job: Job, now: datetime) -> datetime:
    """Return when an attempt ended; never before its start, whatever has been done to the clock."""
    return max(now, job.start_time or job.submit_time)


async def clear(job: Job, execution: Execution, *, has_ended: bool) -> bool:
    """Remove what a completed job left; return whether all of it could be. `has_ended` as in `Execution.clear`."""
    try:
        await execution.clear(job, has_ended=has_ended)
    except (OSError, ImageFault, StartFault) as exc:
        log.warning("job %s: something is left in its run directory: %s", job.id, exc)
        await execution.discard(job)
        return False
    return True


async def note_cleared(job: Job, writer: JobWriter, row: Job | None) -> None:
    """Write the stations behind the end of a job, which is all that ever changes of one that has completed.

    Those of an attempt that another has followed are in the row already. `row` is the job's where it is known. Raises
    JobNotFound, StaleWrite, LeadershipLost.
    """
    row = row or await writer.repository.get(job.id)
    if row.attempt == job.attempt and row.state is State.COMPLETED:
        writer.timelines.of(row).note(Milestone.CLEARED)
        await writer.write(row)
