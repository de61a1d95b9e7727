"""The database: whether it can be used, whether it is sound, whose it is, and who leads."""

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import Unavailable
from ci_common.findings import Finding
from ci_common.jobs import State
from ci_common.owner_file import WrongDataDirectory, check_owner
from ci_common.run_directory.layout import DataDirectory
from ci_persistence.stores.inspection import DatabaseReport, DatabaseTrouble

_START = "start one: ci serve (or ci controller, beside a server with CI_CONTROLLER=off)"


def examine_database(
    database: DatabaseAddress, data: DataDirectory | None, seen: DatabaseReport | DatabaseTrouble
) -> list[Finding]:
    """Judge what was seen of the database. `data` is None where the data directory is on another host."""
    if isinstance(seen, DatabaseTrouble):
        return [seen.finding]
    owner = _owner(database, data, seen) if data is not None else []
    return [*seen.findings, *owner, _leadership(seen)]


def _owner(database: DatabaseAddress, data: DataDirectory, seen: DatabaseReport) -> list[Finding]:
    if seen.installation is None:
        return []
    try:
        check_owner(data, seen.installation.bound(database))
    except (WrongDataDirectory, Unavailable) as exc:
        problem, _, remedy = str(exc).partition("; ")
        return [Finding("installation", False, f"{problem}: no server or controller starts", remedy)]
    return []


def _leadership(seen: DatabaseReport) -> Finding:
    """Judge the lease, and the jobs that wait for a controller."""
    waiting = sum(job.state is State.QUEUED for job in seen.unfinished)
    active = len(seen.unfinished) - waiting
    work = f"{active} active and {waiting} queued jobs"
    lease = seen.leadership
    if not lease.is_held:
        if seen.unfinished:
            return Finding("controller", None, f"none leads, and there are {work}", _START)
        return Finding("controller", True, "none leads, and no job waits for one")
    if lease.holder is None:
        return Finding("controller", None, "another version of the program leads", "run one version of ci-server")
    who = f"process {lease.holder.pid}"
    if not lease.holder.is_here():
        who += " of another machine, boot or container"
        message = f"{who} leads, or has died; another takes over once its lease has run out; {work}"
        return Finding("controller", True, message)
    if not lease.holder.is_alive():
        return Finding("controller", None, f"{who} led and is dead, and no other has taken over; {work}", _START)
    if lease.holder.is_stopped():
        remedy = f"let it go on, or end it: kill -CONT {lease.holder.pid}; kill {lease.holder.pid}"
        return Finding("controller", False, f"{who} leads, and has been stopped (SIGSTOP); {work}", remedy)
    return Finding("controller", True, f"{who} leads (term {lease.fence}); {work}")
