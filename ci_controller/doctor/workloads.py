"""Containers and processes against the rows: what belongs to nobody, and what is missing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ci_common.findings import Finding
from ci_common.jobs import State
from ci_common.owner_file import place_of
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.times import utc_now
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION, key_of
from ci_controller.runtime.docker.engine import Engine
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import WAITING, WorkloadKey
from ci_persistence.sqlite.inspection import DatabaseReport, DatabaseTrouble, attempts_with, jobs_with_rows

_SETTLED = timedelta(minutes=3)
"""What is younger may be on its way: a controller removes orphans after a minute."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Container:
    name: str
    installation: str
    key: WorkloadKey | None
    """None for helpers."""
    created: datetime
    sources: tuple[str, ...]
    """What of the machine is mounted into it."""

    @classmethod
    def of(cls, listed: Mapping[str, Any]) -> "_Container":
        labels = listed["Labels"] or {}
        return cls(
            name=(listed["Names"] or [listed["Id"]])[0].lstrip("/"),
            installation=labels.get(INSTALLATION, ""),
            key=None if HELPER in labels else key_of(labels),
            created=datetime.fromtimestamp(listed["Created"], UTC),
            sources=tuple(str(mount.get("Source", "")) for mount in listed["Mounts"] or ()),
        )


async def examine_workloads(
    engine: Engine | None, settings: Settings, data: DataDirectory, report: DatabaseReport | None
) -> list[Finding]:
    """Compare. `engine` is an open one, or None where jobs run as processes only. Raises RuntimeUnavailable."""
    containers = [] if engine is None else await _containers(engine)
    ours = report.installation.id if report is not None and report.installation is not None else None
    findings = _strangers(containers, ours, place_of(data))
    if report is None or ours is None:
        return findings
    own = [container for container in containers if container.installation == ours]
    try:
        own = _with_their_jobs(own, settings, data)
        findings += _orphans(own, settings)
    except DatabaseTrouble as exc:
        findings.append(Finding("containers", None, f"could not be compared with the database: {exc}", "ci doctor"))
    keys = {container.key for container in own if container.key is not None} | await _processes(settings, data)
    findings += _missing(report, keys, {"process"} if engine is None else {"process", "docker"})
    return findings or [Finding("containers", True, f"{len(own)} of ours, each with its job")]


def _with_their_jobs(own: list[_Container], settings: Settings, data: DataDirectory) -> list[_Container]:
    """Return them with those that waited for jobs as these jobs', and without those that still do."""
    waiting = [c.key.job_id for c in own if c.key is not None and c.key.attempt == WAITING]
    taken = attempts_with(settings.db_path, waiting) if waiting else {}
    left: list[_Container] = []
    for container in own:
        workload = "" if container.key is None else container.key.job_id
        if workload in taken:
            left.append(replace(container, key=WorkloadKey(*taken[workload])))
        elif workload not in waiting or not data.waiting_run(workload).path.is_dir():
            left.append(container)
    return left


async def _containers(engine: Engine) -> list[_Container]:
    async with engine.call() as docker:
        listed = await docker.containers.list(all=True, filters=json.dumps({"label": [INSTALLATION]}))
    fields = ("Labels", "Names", "Id", "Created", "Mounts")
    return [_Container.of({name: container[name] for name in fields}) for container in listed]


async def _processes(settings: Settings, data: DataDirectory) -> set[WorkloadKey]:
    if not data.processes.is_dir():
        return set()
    runtime = ProcessRuntime(settings, data)
    try:
        return {sighting.key for sighting in await runtime.list_workloads()}
    finally:
        await runtime.close()


def _strangers(containers: list[_Container], ours: str | None, place: str) -> list[Finding]:
    """Containers of this data directory under another id: those of an installation that was here before."""
    found = [
        c for c in containers if c.installation != ours and any(_is_in(s, place) for s in c.sources) and _is_old(c)
    ]
    message = "of another installation that used this data directory; no controller looks after them"
    return _named(found, message)


def _orphans(own: list[_Container], settings: Settings) -> list[Finding]:
    old = [container for container in own if _is_old(container)]
    known = jobs_with_rows(settings.db_path, [c.key.job_id for c in old if c.key is not None])
    orphans = [container for container in old if container.key is not None and container.key.job_id not in known]
    helpers = [container for container in old if container.key is None]
    return [
        *_named(orphans, "of ours have no job; a controller that leads removes them"),
        *_named(helpers, "of ours were to help for a moment and are left; a controller that starts removes them"),
    ]


def _named(containers: list[_Container], message: str) -> list[Finding]:
    if not containers:
        return []
    names = sorted(container.name for container in containers)
    remedy = f"docker rm --force --volumes {' '.join(names[:_SHOWN])}"
    return [Finding("containers", None, f"{len(names)} {message}", remedy)]


def _missing(report: DatabaseReport, keys: set[WorkloadKey], visible: set[str]) -> list[Finding]:
    before = utc_now() - _SETTLED
    lost = [
        job.id
        for job in report.unfinished
        if job.state is State.RUNNING
        and job.runtime in visible
        and job.start_time is not None
        and job.start_time < before
        and WorkloadKey(job.id, job.attempt) not in keys
    ]
    if not lost:
        return []
    message = (
        f"{len(lost)} jobs are `running` and nothing runs them, such as {lost[0]}; a controller that leads ends them"
    )
    return [Finding("running jobs", None, message, "see that one leads: ci serve")]


def _is_in(source: str, place: str) -> bool:
    return os.path.commonpath([source, place]) == place if os.path.isabs(source) else False


def _is_old(container: _Container) -> bool:
    return utc_now() - container.created > _SETTLED
