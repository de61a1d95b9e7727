"""The machine: versions, disks, permissions, clock and the limit of open files."""

import os
import resource
import stat
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.errors import Unavailable
from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.times import to_rfc3339, utc_now
from ci_persistence.inspection import driver_versions
from ci_persistence.stores.inspection import DatabaseReport

LITTLE_SPACE = 1024**3
_LITTLE_INODES = 10_000
_FEW_FILES = 1024
_CLOCK_TOLERANCE = timedelta(seconds=2)
_PACKAGES = ("aiodocker", "aiohttp", "aiosqlite", "pydantic", "sse-starlette", "starlette", "uvicorn", "uvloop")
_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse.sshfs", "ceph", "glusterfs", "afs", "ncpfs"}
)


def examine_versions(database: DatabaseAddress) -> Finding:
    """Name the versions in use, since every report of a fault begins with them."""
    packages = ", ".join(f"{name} {_version_of(name)}" for name in _PACKAGES)
    ours = f"ci-server {_version_of('ci-server')}"
    try:
        return Finding("versions", True, f"{ours}; {driver_versions(database)}; {packages}")
    except Unavailable as exc:
        remedy = "install a newer Python, which brings its own SQLite, or psycopg: pip install 'ci-server[postgresql]'"
        return Finding("versions", False, f"{ours}; {packages}; {exc}", remedy)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def examine_machine(database: DatabaseAddress, data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    """Look at permissions, disks, clock and the limit of open files. Raises OSError."""
    places = {"data directory": nearest_existing(data.path)}
    file = database.path
    if file is not None and os.stat(nearest_existing(file)).st_dev != os.stat(places["data directory"]).st_dev:
        places["database's disk"] = nearest_existing(file)
    disks = [examine_disk(name, path) for name, path in places.items()]
    return [*_permissions(file and file.absolute(), data), *disks, *_clock(report), _open_files()]


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def examine_disk(name: str, path: Path) -> Finding:
    """Judge the free space of the file system that holds an existing path. Raises OSError."""
    status = os.statvfs(path)
    free, inodes = status.f_bavail * status.f_frsize, status.f_favail
    kind = _kind_of(path)
    message = f"{path}, {free / 1024**3:.1f} GiB free" + (f", {inodes:,} inodes" if status.f_files else "")
    if kind in _REMOTE:
        remedy = "name a local disk with CI_DB_PATH and CI_DATA_DIR"
        return Finding(name, False, f"{path} is on {kind}: neither SQLite nor inotify works over a network", remedy)
    if free < LITTLE_SPACE or (status.f_files and inodes < _LITTLE_INODES):
        remedy = f"see what takes it: du -xh {path}"
        return Finding(name, None, f"{message}: uploads, workspaces and logs need room", remedy)
    return Finding(name, True, message)


def _kind_of(path: Path) -> str:
    """Return the type of the file system that holds `path`, empty where it is not known."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mounted = fields.split()[4].encode().decode("unicode_escape")
        if path.resolve().is_relative_to(mounted) and len(mounted) >= len(best):
            best, kind = mounted, rest.split()[0]
    return kind


def _permissions(database: Path | None, data: DataDirectory) -> list[Finding]:
    """Return a finding for each owner or mode that is not as it was made, or one that says that all are."""
    files = [database.with_name(database.name + end) for end in ("", "-wal", "-shm", "-ballast")] if database else []
    findings = [
        *_open_to_others(files, forbidden=0o077, remedy="chmod 600"),
        *_open_to_others([data.jobs, data.incoming, data.processes], forbidden=0o077, remedy="chmod 700"),
        *_open_to_others([data.path], forbidden=0o022, remedy="chmod go-w"),
    ]
    for path in {nearest_existing(p): None for p in (*files[:1], *(file.parent for file in files[:1]), data.path)}:
        if not os.access(path, os.W_OK):
            message = f"{path} belongs to user {path.stat().st_uid} and cannot be written by user {os.geteuid()}"
            remedy = f"run ci as that user, or: chown -R {os.geteuid()} {path}"
            findings.append(Finding("permissions", False, message, remedy))
    return findings or [Finding("permissions", True, "what is here is closed to other users")]


def _open_to_others(paths: list[Path], *, forbidden: int, remedy: str) -> list[Finding]:
    findings = []
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # Not there yet, or not accessible: other subjects say so.
        if mode & forbidden:
            message = f"{path} has mode {mode:04o}: other users have access to what jobs are given"
            findings.append(Finding("permissions", None, message, f"{remedy} {path}"))
    return findings


def _clock(report: DatabaseReport | None) -> list[Finding]:
    now = utc_now()
    if report is None or report.newest is None or report.newest <= now + _CLOCK_TOLERANCE:
        return []
    message = (
        f"it is {to_rfc3339(now)} here, and the database has a job of {to_rfc3339(report.newest)}: the clock was set "
        "back, so timeouts and ages are wrong by that much"
    )
    return [Finding("clock", None, message, "set the clock: timedatectl set-ntp true")]


def _open_files() -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= limit < _FEW_FILES:
        return Finding("open files", None, f"at most {limit}", "start ci serve with more: ulimit -n 65536")
    return Finding("open files", True, "no limit" if limit < 0 else f"at most {limit}")
