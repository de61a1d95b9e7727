"""The database: whether it can be used, whether it is sound, whose it is, and who leads."""

from pathlib import Path

from ci_common.errors import Unavailable
from ci_common.findings import Finding
from ci_common.jobs import State
from ci_common.owner_file import WrongDataDirectory, check_owner
from ci_common.run_directory.layout import DataDirectory
from ci_persistence.sqlite.inspection import DatabaseReport, DatabaseTrouble, Trouble

_MUCH_WAL = 256 * 1024**2
_START = "start one: ci serve (or ci controller, beside a server with CI_CONTROLLER=off)"
_RESTORE = "restore a backup: move it and the data directory away, then ci restore BACKUP"
_REMEDIES = {
    Trouble.UNREADABLE: "run ci as the user whose database it is, or name another place with CI_DB_PATH: ls -l {path}",
    Trouble.FOREIGN: "name another place with CI_DB_PATH",
    Trouble.LOCKED: "see who holds it, and end that: fuser -v {path}",
    Trouble.DAMAGED: _RESTORE,
    Trouble.TOO_NEW: "use the newer ci-server that has written it, or restore a backup of before: ci restore BACKUP",
}


def examine_database(path: Path, data: DataDirectory, seen: DatabaseReport | DatabaseTrouble) -> list[Finding]:
    """Judge what was seen of the database at `path`."""
    if isinstance(seen, DatabaseTrouble):
        if seen.kind is Trouble.MISSING:
            return [Finding("database", True, f"none at {path.absolute()} yet; the first start makes it")]
        remedy = _REMEDIES[seen.kind].format(path=path.absolute())
        return [Finding("database", False, f"{path.absolute()}: {seen.kind}: {seen}", remedy)]
    return [
        _soundness(path.absolute(), seen),
        *_writing(path.absolute(), seen),
        *_owner(path, data, seen),
        _leadership(seen),
    ]


def _soundness(path: Path, seen: DatabaseReport) -> Finding:
    size = f"{_mib(seen.bytes)} and {_mib(seen.wal_bytes)} of write-ahead log"
    what = f"{path}, schema version {seen.schema_version}, {size}"
    if seen.faults:
        return Finding("database", False, f"{path}: damaged: {'; '.join(seen.faults[:3])}", _RESTORE)
    if seen.schema_version < seen.newest_schema:
        what += f"; the next start brings it to schema version {seen.newest_schema}"
    if not seen.was_checked:
        remedy = f"check it, which takes longer: sqlite3 {path} 'PRAGMA integrity_check'"
        return Finding("database", None, f"{what}; too large to be checked here to the end", remedy)
    return Finding("database", True, what)


def _writing(path: Path, seen: DatabaseReport) -> list[Finding]:
    if seen.write_locked:
        remedy = f"see who has it open, and end what does not answer: fuser -v {path}"
        return [Finding("database writes", False, "another process holds the write lock and does not let go", remedy)]
    if seen.wal_bytes > _MUCH_WAL:
        message = f"the write-ahead log has {_mib(seen.wal_bytes)}: a reader holds on to an old state"
        return [Finding("database writes", None, message, f"see who has it open for long: fuser -v {path}")]
    return []


def _owner(path: Path, data: DataDirectory, seen: DatabaseReport) -> list[Finding]:
    if seen.installation is None:
        return []
    try:
        check_owner(data, path, seen.installation.id, seen.installation.data_path)
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


def _mib(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB"
