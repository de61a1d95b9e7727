"""Who may read what: the database holds jobs' variables, and the data directory their files."""

import os
import stat
from pathlib import Path

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_controller.doctor.disk import nearest_existing


def examine_permissions(database: Path, data: DataDirectory) -> list[Finding]:
    """Look at owners and modes. One finding for each that is not as it is made, or one that says that all are."""
    beside = [database.with_name(database.name + suffix) for suffix in ("-wal", "-shm", "-ballast")]
    findings = [
        *_of(database.absolute(), *beside, forbidden=0o077, remedy="chmod 600"),
        *_of(data.jobs, data.incoming, data.processes, forbidden=0o077, remedy="chmod 700"),
        *_of(data.path, forbidden=0o022, remedy="chmod go-w"),
        *_writable(database.absolute(), data),
    ]
    return findings or [Finding("permissions", True, "database and data directory are closed to other users")]


def _of(*paths: Path, forbidden: int, remedy: str) -> list[Finding]:
    findings = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # Not there yet, or beyond us: the other subjects say so.
        mode = stat.S_IMODE(status.st_mode)
        if mode & forbidden:
            message = f"{path} has mode {mode:04o}: other users can get at what jobs are given"
            findings.append(Finding("permissions", None, message, f"{remedy} {path}"))
    return findings


def _writable(database: Path, data: DataDirectory) -> list[Finding]:
    findings = []
    for path in {nearest_existing(p): None for p in (database, database.parent, data.path)}:
        if not os.access(path, os.W_OK):
            owner = path.stat().st_uid
            message = f"{path} belongs to user {owner} and cannot be written by user {os.geteuid()}"
            remedy = f"run ci as that user, or: chown -R {os.geteuid()} {path}"
            findings.append(Finding("permissions", False, message, remedy))
    return findings
