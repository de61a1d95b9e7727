"""Logs of attempts that have ended and are to move to the artifact store: those that have just ended, and others.

Only with CI_LOG_STORE=artifacts. What is removed is the log in the data directory, once the store has it.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from ci_common.artifacts.store import StoreUnavailable
from ci_common.jobs import is_job_id
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.system.trees import Folder
from ci_controller.artifacts.ended_logs import EndedLogs
from ci_controller.gc.directories import SECONDS, scan_gently
from ci_controller.gc.runner import Collector
from ci_controller.runtime.protocol import WorkloadKey
from ci_persistence.stores.jobs import JobStore

_MOST_NOTED = 10_000
"""So many attempts are noted when they end; more are found with the others that are still here."""
_BATCH = 50


@dataclass(eq=False)
class LogsOfEnded(Collector[WorkloadKey]):
    """Logs of attempts that have just ended."""

    name = "logs of ended attempts"
    verb = "moved"
    retry_seconds = 30.0
    jobs: JobStore
    logs: EndedLogs
    noted: dict[WorkloadKey, None] = field(default_factory=dict)
    """Attempts whose supervisor has ended, and whose log has not been looked at since."""

    def note(self, key: WorkloadKey) -> bool:
        """Note an attempt whose supervisor has ended; return whether there was room."""
        if len(self.noted) >= _MOST_NOTED:
            return False
        self.noted[key] = None
        return True

    async def find(self) -> AsyncGenerator[list[WorkloadKey], None]:
        waiting = list(self.noted)
        for start in range(0, len(waiting), _BATCH):
            yield waiting[start : start + _BATCH]

    async def remove(self, items: list[WorkloadKey]) -> dict[WorkloadKey, Exception]:
        return await _move(items, self.jobs, self.logs, self.noted)


@dataclass(eq=False)
class LogsLeftHere(Collector[WorkloadKey]):
    """Logs of attempts that ended before, with another controller or another setting."""

    name = "logs of attempts that ended before"
    verb = "moved"
    seconds = SECONDS
    retry_seconds = 60.0
    data: DataDirectory
    jobs: JobStore
    logs: EndedLogs

    async def find(self) -> AsyncGenerator[list[WorkloadKey], None]:
        async with aclosing(scan_gently(self.data.jobs, _attempts_with_logs)) as found:
            async for keys in found:
                yield keys

    async def remove(self, items: list[WorkloadKey]) -> dict[WorkloadKey, Exception]:
        return await _move(items, self.jobs, self.logs, {})


async def _move(
    items: list[WorkloadKey], jobs: JobStore, logs: EndedLogs, noted: dict[WorkloadKey, None]
) -> dict[WorkloadKey, Exception]:
    """Move the logs of attempts, and take those off `noted` that are done with.

    Raises StoreUnavailable: then nothing is tried with the others.
    """
    known = await jobs.get_many({key.job_id for key in items})
    failed: dict[WorkloadKey, Exception] = {}
    for key in items:
        job = known.get(key.job_id)
        if job is not None and key.attempt <= job.attempt:
            try:
                await logs.move(job.as_of(key.attempt))
            except StoreUnavailable:
                raise
            except OSError as exc:
                failed[key] = exc
        noted.pop(key, None)
    return failed


def _attempts_with_logs(entry: "os.DirEntry[str]") -> list[WorkloadKey]:
    """Return those attempts of a job that have been cleared, and whose log or its times are here."""
    if not is_job_id(entry.name):
        return []
    try:
        with Folder.opened(Path(entry.path)) as job:
            names = job.names()
    except OSError:
        return []
    return [
        WorkloadKey(entry.name, int(name))
        for name in names
        if name.isdecimal() and _has_log(RunDirectory(Path(entry.path) / name), names)
    ]


def _has_log(run: RunDirectory, names: set[str]) -> bool:
    if os.path.lexists(run.gate) or not os.path.lexists(run.record):
        return False
    return os.path.lexists(run.log) or {run.stored.name, run.times.name} <= names
