"""Directories of jobs that no row tells of."""

import os
import time
from pathlib import Path

from ci_common.findings import Finding
from ci_common.jobs import is_job_id
from ci_common.run_directory.layout import DataDirectory
from ci_persistence.sqlite.inspection import DatabaseReport, DatabaseTrouble, jobs_with_rows

_OLD_SECONDS = 2 * 3600.0
"""Submissions that died are cleared away after an hour."""
_AT_ONCE = 1000
_SHOWN = 3


def examine_directories(database: Path, data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    """Find directories in the data directory whose job has no row, and that nobody is about to give one."""
    if report is None or report.schema_version != report.newest_schema or not data.jobs.is_dir():
        return []
    try:
        orphans = _orphans(database, data)
    except (DatabaseTrouble, OSError) as exc:
        return [Finding("directories", None, f"could not be compared with the database: {exc}", "try again: ci doctor")]
    old = [name for name in os.listdir(data.path) if name == "restoring"]
    if old:
        path = data.path / old[0]
        return [Finding("directories", None, f"{path} is left from a restore that was interrupted", f"rm -r {path}")]
    if not orphans:
        return [Finding("directories", True, "each belongs to a job")]
    message = f"{len(orphans)} in {data.jobs} belong to no job, such as {orphans[0].name}"
    return [Finding("directories", None, message, f"look at them, then: rm -r {' '.join(map(str, orphans[:_SHOWN]))}")]


def _orphans(database: Path, data: DataDirectory) -> list[Path]:
    before = time.time() - _OLD_SECONDS
    with os.scandir(data.jobs) as entries:
        old = [entry.name for entry in entries if is_job_id(entry.name) and _mtime(entry) < before]
    orphans: list[Path] = []
    for start in range(0, len(old), _AT_ONCE):
        names = old[start : start + _AT_ONCE]
        known = jobs_with_rows(database, names)
        orphans += [data.job(name) for name in names if name not in known]
    return sorted(orphans)


def _mtime(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return time.time()
