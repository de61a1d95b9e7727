"""Who leads, and whether anybody carries jobs out."""

from ci_common.findings import Finding
from ci_common.jobs import State
from ci_persistence.sqlite.inspection import DatabaseReport

_START = "start one: ci serve (or ci controller, beside a server with CI_CONTROLLER=off)"


def examine_leadership(seen: DatabaseReport) -> list[Finding]:
    """Judge the lease, with what waits for somebody to lead."""
    waiting = sum(job.state is State.QUEUED for job in seen.unfinished)
    active = len(seen.unfinished) - waiting
    work = f"{active} active and {waiting} queued jobs"
    lease = seen.leadership
    if not lease.is_held:
        if seen.unfinished:
            return [Finding("controller", None, f"none leads, and there are {work}", _START)]
        return [Finding("controller", True, "none leads, and no job waits for one")]
    if lease.holder is None:
        return [Finding("controller", None, "another version of the program leads", "run one version of ci-server")]
    who = f"process {lease.holder.pid}"
    if not lease.holder.is_here():
        who += " of another machine, boot or container"
        message = f"{who} leads, or has died without a word, and another takes over once its lease has run out; {work}"
        return [Finding("controller", True, message)]
    if not lease.holder.is_alive():
        return [Finding("controller", None, f"{who} led and is dead, and nobody has taken over; {work}", _START)]
    if lease.holder.is_stopped():
        remedy = f"let it go on, or end it: kill -CONT {lease.holder.pid}; kill {lease.holder.pid}"
        return [Finding("controller", False, f"{who} leads, and has been stopped (SIGSTOP); {work}", remedy)]
    return [Finding("controller", True, f"{who} leads (term {lease.fence}); {work}")]
