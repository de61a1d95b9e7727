"""Directories and containers that belong to no job."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.findings import Finding
from ci_common.jobs import is_job_id
from ci_common.owner_file import place_of
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.runtime.docker.cleaning import is_in_use
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION, SETUP, key_of
from ci_controller.runtime.docker.engine import Engine
from ci_controller.runtime.process.record import SETUP_RECORD
from ci_controller.runtime.protocol import WAITING, WorkloadKey
from ci_persistence.inspection import cache_ids, environment_references, jobs_with_rows
from ci_persistence.stores.inspection import DatabaseReport, DatabaseTrouble

SETTLED = timedelta(minutes=3)
"""Containers that are younger may be about to go or to be used: a controller removes orphans after a minute."""
_OLD_DIRECTORY = timedelta(hours=2)
"""Interrupted submissions that are younger may still be removed by a controller."""
_OLD_LOG = timedelta(hours=12)
"""Logs that ended later may still be about to move: a controller looks for what others have left every six hours."""
_AT_ONCE = 1000
_SHOWN = 5


async def examine_directories(
    database: DatabaseAddress, data: DataDirectory, report: DatabaseReport | None
) -> list[Finding]:
    """Find directories below jobs/ that have no row, and that no submission is about to give one."""
    name = "directories"
    if report is None or not report.is_current or not data.jobs.is_dir():
        return []
    if (draft := data.path / "restoring").exists():
        return [Finding(name, None, f"{draft} is left from a restore that was interrupted", f"rm -r {draft}")]
    try:
        orphans = await _orphan_directories(database, data)
    except (DatabaseTrouble, OSError) as exc:
        return [Finding(name, None, f"could not be compared with the database: {exc}", "try again: ci doctor")]
    if not orphans:
        return [Finding(name, True, "each belongs to a job")]
    message = f"{len(orphans)} in {data.jobs} belong to no job, such as {orphans[0].name}"
    return [Finding(name, None, message, f"look at them, then: rm -r {' '.join(map(str, orphans[:_SHOWN]))}")]


async def examine_logs(settings: Settings, data: DataDirectory) -> list[Finding]:
    """Count the logs that are in the artifact store and here as well, and those that are still to move there."""
    name = "logs"
    if not settings.artifacts_url or not data.jobs.is_dir():
        return []
    try:
        twice, waiting = await asyncio.to_thread(_old_logs, data)
    except OSError as exc:
        return [Finding(name, None, f"could not be looked at: {exc}", "try again: ci doctor")]
    moves = settings.log_store == "artifacts"
    findings = []
    if twice:
        message = f"{twice} in {data.jobs} are in the artifact store as well"
        remedy = "let a controller run, which removes them here: ci serve" if moves else "rm the logs beside *.stored"
        findings.append(Finding(name, None, message, remedy))
    if waiting and moves:
        message = f"{waiting} in {data.jobs} have ended for hours and are not in the artifact store"
        findings.append(Finding(name, None, message, "see in the controller's log why they cannot be moved: ci serve"))
    return findings or [Finding(name, True, "those that have ended are where CI_LOG_STORE says")]


def _old_logs(data: DataDirectory) -> tuple[int, int]:
    """Return how many logs are here though the store has them, and how many old ones of cleared attempts are here."""
    before = time.time() - _OLD_LOG.total_seconds()
    twice = waiting = 0
    with os.scandir(data.jobs) as jobs:
        for job in jobs:
            if not is_job_id(job.name):
                continue
            for name in os.listdir(job.path):
                run = data.run(job.name, int(name)) if name.isdecimal() else None
                if run is None or not run.is_spent() or not os.path.lexists(run.log):
                    continue
                if os.path.lexists(run.stored):
                    twice += 1
                elif run.log.lstat().st_mtime < before and run.log_size():
                    waiting += 1
    return twice, waiting


async def examine_caches(
    database: DatabaseAddress, data: DataDirectory, report: DatabaseReport | None
) -> list[Finding]:
    """Compare the archives of caches with the rows."""
    if report is None or not report.is_current or not data.caches.is_dir():
        return []
    try:
        there = await asyncio.to_thread(_changes, data.caches)
        rows = {f"{identity}.tar" for identity in await cache_ids(database)}
    except (DatabaseTrouble, OSError) as exc:
        return [Finding("caches", None, f"could not be compared with the database: {exc}", "try again: ci doctor")]
    return _compared("caches", "archives", data.caches, there, rows)


async def examine_trees(database: DatabaseAddress, data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    """Compare the environments of jobs that run as processes with the rows."""
    name = "environment trees"
    if report is None or not report.is_current or not data.trees.is_dir():
        return []
    try:
        there = await asyncio.to_thread(_changes, data.trees)
        rows = {reference for reference in await environment_references(database) if is_job_id(reference)}
    except (DatabaseTrouble, OSError) as exc:
        return [Finding(name, None, f"could not be compared with the database: {exc}", "try again: ci doctor")]
    made = {tree: changed for tree, changed in there.items() if not (data.processes / f"{SETUP_RECORD}{tree}").exists()}
    return _compared(name, "trees", data.trees, made, rows)


def _compared(name: str, what: str, place: Path, there: Mapping[str, float], rows: set[str]) -> list[Finding]:
    """Compare what is in a directory, by name and with the time of its last change, with the rows that name it."""
    findings = []
    before = time.time() - SETTLED.total_seconds()
    if left := sorted(entry for entry, changed in there.items() if entry not in rows and changed < before):
        message = f"{len(left)} {what} in {place} have no row; a controller that leads removes them"
        remedy = f"rm -r {' '.join(str(place / entry) for entry in left[:_SHOWN])}"
        findings.append(Finding(name, None, message, remedy))
    if gone := len(rows - there.keys()):
        message = f"the {what} of {gone} are gone; the next jobs make them again"
        findings.append(Finding(name, None, message, "let a controller run, which removes their rows: ci serve"))
    return findings or [Finding(name, True, f"{len(there)}, each with its row")]


def _changes(place: Path) -> dict[str, float]:
    """Return when each entry of a directory came there or was changed, by its name."""
    with os.scandir(place) as entries:
        return {entry.name: entry.stat(follow_symlinks=False).st_ctime for entry in entries}


async def _orphan_directories(database: DatabaseAddress, data: DataDirectory) -> list[Path]:
    old = await asyncio.to_thread(_old_directories, data)
    orphans: list[Path] = []
    for start in range(0, len(old), _AT_ONCE):
        names = old[start : start + _AT_ONCE]
        known = await jobs_with_rows(database, names)
        orphans += [data.job(name) for name in names if name not in known]
    return sorted(orphans)


def _old_directories(data: DataDirectory) -> list[str]:
    before = time.time() - _OLD_DIRECTORY.total_seconds()
    with os.scandir(data.jobs) as entries:
        return [entry.name for entry in entries if is_job_id(entry.name) and _mtime(entry) < before]


def _mtime(entry: "os.DirEntry[str]") -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return time.time()


@dataclass(frozen=True, slots=True)
class _Container:
    name: str
    installation: str
    key: WorkloadKey | None
    """None for helpers."""
    is_settled: bool
    sources: tuple[str, ...]
    """What of the machine is mounted into it."""

    @classmethod
    def of(cls, listed: Mapping[str, Any]) -> "_Container":
        labels = listed["Labels"] or {}
        return cls(
            name=(listed["Names"] or [listed["Id"]])[0].lstrip("/"),
            installation=labels.get(INSTALLATION, ""),
            key=None if HELPER in labels else key_of(labels),
            is_settled=time.time() - listed["Created"] > SETTLED.total_seconds()
            and not (SETUP in labels and key_of(labels) is None and is_in_use(labels[SETUP], listed["Created"])),
            sources=tuple(str(mount.get("Source", "")) for mount in listed["Mounts"] or ()),
        )


async def examine_containers(
    engine: Engine, database: DatabaseAddress, data: DataDirectory, report: DatabaseReport | None
) -> list[Finding]:
    """Compare the containers of an open engine with the rows. Raises RuntimeUnavailable."""
    async with engine.call() as docker:
        listed = await docker.containers.list(all=True, filters=json.dumps({"label": [INSTALLATION]}))
    fields = ("Labels", "Names", "Id", "Created", "Mounts")
    containers = [_Container.of({name: container[name] for name in fields}) for container in listed]
    ours = report.installation.id if report is not None and report.installation is not None else None
    place = Path(place_of(data))
    strangers = [
        container
        for container in containers
        if container.installation != ours and any(Path(source).is_relative_to(place) for source in container.sources)
    ]
    message = "of another installation that used this data directory; no controller looks after them"
    findings = _named(strangers, message)
    if ours is None:
        return findings
    own = [c for c in containers if c.installation == ours and not _is_in_pool(c, data)]
    try:
        orphans = await _orphans(own, database, data)
    except DatabaseTrouble as exc:
        problem = f"could not be compared with the database: {exc}"
        return [*findings, Finding("containers", None, problem, "try again: ci doctor")]
    findings += _named(orphans, "of ours have no job; a controller that leads removes them")
    helpers = [container for container in own if container.key is None]
    findings += _named(helpers, "of ours are helpers that were left; a controller that starts removes them")
    return findings or [Finding("containers", True, f"{len(own)} of ours, each with its job")]


def _is_in_pool(container: _Container, data: DataDirectory) -> bool:
    key = container.key
    return key is not None and key.attempt == WAITING and data.waiting_run(key.job_id).path.is_dir()


async def _orphans(own: list[_Container], database: DatabaseAddress, data: DataDirectory) -> list[_Container]:
    holders = tickets.holders(data.pool)
    jobs = {
        container.name: holders[container.key.job_id][0] if container.key.job_id in holders else container.key.job_id
        for container in own
        if container.key is not None
    }
    known = await jobs_with_rows(database, list(jobs.values()))
    return [container for container in own if container.key is not None and jobs[container.name] not in known]


def _named(containers: list[_Container], message: str) -> list[Finding]:
    names = sorted(container.name for container in containers if container.is_settled)
    if not names:
        return []
    remedy = f"docker rm --force --volumes {' '.join(names[:_SHOWN])}"
    return [Finding("containers", None, f"{len(names)} {message}", remedy)]
