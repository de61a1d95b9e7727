"""The machine: its clock, and how many files and inotify instances one may have open."""

import os
import resource
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from ci_common.findings import Finding
from ci_common.run_directory.layout import DataDirectory
from ci_common.times import to_rfc3339, utc_now
from ci_controller.doctor.disk import nearest_existing
from ci_persistence.sqlite.inspection import DatabaseReport

CLOCK_TOLERANCE = timedelta(seconds=2)
_FEW_FILES = 1024
_FEW_INSTANCES = 16
_FEW_WATCHES = 8192
_SCAN_SECONDS = 1.0
_INOTIFY = Path("/proc/sys/fs/inotify")


def examine_machine(data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    """Look at clock, open files and inotify."""
    return [_clock(data, report), _open_files(report), *_inotify()]


def _clock(data: DataDirectory, report: DatabaseReport | None) -> Finding:
    now = utc_now()
    if report is not None and report.newest is not None and report.newest > now + CLOCK_TOLERANCE:
        message = (
            f"it is {to_rfc3339(now)} here, and the database has a job of {to_rfc3339(report.newest)}: the clock was "
            "set back, so timeouts and ages are wrong by that much"
        )
        return Finding("clock", None, message, "set the clock: timedatectl set-ntp true")
    behind = _file_system_lag(nearest_existing(data.path))
    if behind is not None and abs(behind) > CLOCK_TOLERANCE.total_seconds():
        message = f"a new file's time is {behind:+.1f} s from the clock: another machine keeps the files"
        return Finding("clock", None, message, "put database and data directory on a local disk")
    return Finding("clock", True, f"{to_rfc3339(now)}, no job and no file is from the future")


def _file_system_lag(folder: Path) -> float | None:
    """Return how many seconds a new file's time is after the clock; None where no file can be made."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b".")
            file.flush()
            return os.fstat(file.fileno()).st_mtime - time.time()
    except OSError:
        return None


def _open_files(report: DatabaseReport | None) -> Finding:
    leader = report.leadership.holder if report is not None else None
    if leader is not None and leader.is_alive() and (seen := _of_process(leader.pid)) is not None:
        used, limit = seen
        message = f"process {leader.pid} has {used} of {limit}"
        if used > limit * 0.8:
            return Finding(
                "open files", None, message, "start it with more: ulimit -n 65536 (systemd: LimitNOFILE=65536)"
            )
        return Finding("open files", True, message)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < _FEW_FILES:
        return Finding("open files", None, f"at most {limit}", "start ci serve with more: ulimit -n 65536")
    return Finding("open files", True, f"at most {limit} here")


def _of_process(pid: int) -> tuple[int, int] | None:
    """Return how many files a process has open and how many it may; None where that is not for us to see."""
    try:
        used = len(os.listdir(f"/proc/{pid}/fd"))
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    line = next((line for line in limits.splitlines() if line.startswith("Max open files")), "")
    words = line.split()
    return (used, int(words[3])) if len(words) > 3 and words[3].isdecimal() else None


def _inotify() -> list[Finding]:
    try:
        instances, watches = (int((_INOTIFY / f"max_user_{what}").read_text()) for what in ("instances", "watches"))
    except (OSError, ValueError):
        return []  # No Linux: files are looked at from time to time.
    used = _instances_in_use()
    message = f"{used} of {instances} instances of this user in use, {watches} watches at most"
    if instances - used < _FEW_INSTANCES or watches < _FEW_WATCHES:
        remedy = "sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288 (to keep: /etc/sysctl.d)"
        return [Finding("inotify", None, f"{message}; without, changes are seen a quarter of a second late", remedy)]
    return [Finding("inotify", True, message)]


def _instances_in_use() -> int:
    """Count the instances of this user's processes, as far as that can be seen in bounded time."""
    deadline = time.monotonic() + _SCAN_SECONDS
    count = 0
    for process in Path("/proc").iterdir():
        if time.monotonic() > deadline:
            break
        if not process.name.isdecimal():
            continue
        try:
            if process.stat().st_uid == os.geteuid():
                links = [f"{process}/fd/{name}" for name in os.listdir(process / "fd")]
                count += sum(os.readlink(link) == "anon_inode:inotify" for link in links)
        except OSError:
            continue  # It has ended, or is closed to us.
    return count
