"""Who leads, and whether anybody carries jobs out."""

from datetime import timedelta

from ci_common.findings import Finding
from ci_common.jobs import State
from ci_common.times import to_rfc3339, utc_now
from ci_persistence.inspection import DatabaseReport

_START = "start one: ci serve (or ci controller, beside a server with CI_CONTROLLER=off)"
_LATE = timedelta(seconds=5)


def examine_leadership(seen: DatabaseReport) -> list[Finding]:
    """Judge the lease, with what waits for somebody to lead."""
    waiting = sum(job.state is State.QUEUED for job in seen.unfinished)
    active = len(seen.unfinished) - waiting
    work = f"{active} active and {waiting} queued jobs"
    lease, now = seen.leadership, utc_now()
    if lease.expires is None:
        if seen.unfinished:
            return [Finding("controller", None, f"none leads, and there are {work}", _START)]
        return [Finding("controller", True, "none leads, and no job waits for one")]
    if lease.holder is None:
        return [Finding("controller", None, "another version of the program leads", "run one version of ci-server")]
    who = f"process {lease.holder.pid}"
    if not lease.holder.is_here():
        return [_elsewhere(who, work, expired=now > lease.expires, until=to_rfc3339(lease.expires))]
    if not lease.holder.is_alive():
        return [Finding("controller", None, f"{who} led and is dead, and nobody has taken over; {work}", _START)]
    if now > lease.expires + _LATE:
        message = (
            f"{who} leads and lives, but has not renewed its lease since before {to_rfc3339(lease.expires)}: stopped?"
        )
        remedy = (
            f"let it go on, or end it so that another can lead: kill -CONT {lease.holder.pid}; kill {lease.holder.pid}"
        )
        return [Finding("controller", False, message, remedy)]
    return [
        Finding(
            "controller", True, f"{who} leads (term {lease.fence}), until {to_rfc3339(lease.expires)} at least; {work}"
        )
    ]


def _elsewhere(who: str, work: str, *, expired: bool, until: str) -> Finding:
    if expired:
        return Finding(
            "controller", None, f"{who} of another machine, boot or container led until {until}; {work}", _START
        )
    return Finding(
        "controller", True, f"{who} of another machine, boot or container leads until {until} at least; {work}"
    )
