"""Networks of services and images of prepared environments: those that belong to nothing, and how many there can be."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ci_common.configuration.database_address import DatabaseAddress
from ci_common.findings import Finding
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.doctor import leftovers
from ci_controller.runtime.docker.containers import INSTALLATION, SETUP, key_of
from ci_controller.runtime.docker.engine import Engine
from ci_controller.runtime.protocol import WAITING
from ci_persistence.inspection import environment_references, jobs_with_rows
from ci_persistence.stores.inspection import DatabaseReport, DatabaseTrouble

USUAL_NETWORKS = 30
"""About how many networks an engine has addresses for whose administrator has not said anything else."""
_POOLS = '"default-address-pools": [{"base": "10.201.0.0/16", "size": 24}]'
_SHOWN = 5


def examine_room(settings: Settings, info: Mapping[str, Any]) -> Finding:
    """Compare the networks that an engine has addresses for with those that jobs may need at once."""
    name, room = "engine networks", _room(info)
    # A container that waits with a service counts as two.
    wanted = settings.max_concurrency + settings.pool_size // 2
    message = f"it has addresses for about {room}; jobs with services need up to {wanted} at once"
    if room >= wanted:
        return Finding(name, True, message)
    remedy = f"put {_POOLS}, or a network that is free there, into /etc/docker/daemon.json, and restart the engine"
    return Finding(name, None, f"{message}, and wait for each other beyond that", remedy)


def _room(info: Mapping[str, Any]) -> int:
    pools = [(int(pool["Size"]), int(pool["Base"].partition("/")[2])) for pool in info.get("DefaultAddressPools") or ()]
    return sum(2 ** max(0, size - prefix) for size, prefix in pools) or USUAL_NETWORKS


async def examine_what_is_left(
    engine: Engine, database: DatabaseAddress, data: DataDirectory, report: DatabaseReport | None
) -> list[Finding]:
    """Compare the networks and environments of an open engine with the rows. Raises RuntimeUnavailable."""
    if report is None or report.installation is None or not report.is_current:
        return []
    ours = f"{INSTALLATION}={report.installation.id}"
    async with engine.call() as docker:
        networks = await docker.networks.list(filters={"label": [ours]})
        images = await docker.images.list(filters={"label": [ours, SETUP]})
    try:
        return [
            *await _networks(networks, database, data),
            *await _environments({image["Id"]: image["Created"] for image in images}, database),
        ]
    except DatabaseTrouble as exc:
        return [Finding("networks", None, f"could not be compared with the database: {exc}", "try again: ci doctor")]


async def _networks(networks: list[dict[str, Any]], database: DatabaseAddress, data: DataDirectory) -> list[Finding]:
    holders, jobs = tickets.holders(data.pool), dict[str, str]()
    for network in networks:
        key = key_of(network["Labels"] or {})
        if key is None or (key.attempt == WAITING and data.waiting_run(key.job_id).path.is_dir()):
            continue
        jobs[network["Name"]] = holders[key.job_id][0] if key.job_id in holders else key.job_id
    known = await jobs_with_rows(database, list(jobs.values()))
    made = {network["Name"]: _instant(network["Created"]) for network in networks}
    left = sorted(name for name, job in jobs.items() if job not in known and _is_settled(made[name]))
    if left:
        message = f"{len(left)} of ours have no job; a controller that leads removes them"
        return [Finding("networks", None, message, f"docker network rm {' '.join(left[:_SHOWN])}")]
    return [Finding("networks", True, f"{len(jobs)} of ours, each with its job")]


async def _environments(images: Mapping[str, float], database: DatabaseAddress) -> list[Finding]:
    rows = await environment_references(database)
    left = sorted(image for image, created in images.items() if image not in rows and _is_settled(created))
    name, findings = "environments", list[Finding]()
    if left:
        message = f"{len(left)} images of ours are no job's environment; a controller that leads removes them"
        findings.append(Finding(name, None, message, f"docker image rm {' '.join(left[:_SHOWN])}"))
    if gone := sum(reference.startswith("sha256:") and reference not in images for reference in rows):
        message = f"the images of {gone} were removed; the next jobs run their setups again"
        findings.append(Finding(name, None, message, "let a controller run, which removes their rows: ci serve"))
    return findings or [Finding(name, True, f"{len(images)}, each with its image")]


def _is_settled(created: float) -> bool:
    return time.time() - created > leftovers.SETTLED.total_seconds()


def _instant(text: str) -> float:
    """Return the seconds since the epoch of a time with nanoseconds, as the engine writes it."""
    return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
