"""What we ask of the engine and what it answers, as plain data: configurations, labels, states."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_common.attempts.outcomes import Sample
from ci_common.spec import ExecutionPlan, Limits
from ci_common.spec_parts.services import Service
from ci_common.system.processes import this_process
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.engine import Traits
from ci_controller.runtime.protocol import EngineStatus, ListedWorkload, WorkloadKey, WorkloadSpec

INSTALLATION = "ci-server.installation"
JOB = "ci-server.job"
ATTEMPT = "ci-server.attempt"
PROFILE = "ci-server.profile"
"""On containers that were created to wait for a job: which jobs can take them."""
SERVICE = "ci-server.service"
"""On containers that run beside a job: which of its services it is."""
SERVICES = "ci-server.services"
"""On the network of a job and its services: their names, with commas between."""
NETWORK = "ci-server.network"
"""On the network of all jobs without services: the process that made it."""
HELPER = "ci-server.helper"
"""On containers that are ours but no job's, which probe an image or delete files: the process that made them."""
SETUP = "ci-server.setup"
"""On containers that make a prepared environment: the process that made them. On such an image, its key; containers
have the labels of their image."""

BASE = Path("/ci")
"""The run directory as the job sees it."""

CONSOLE_DEVICES = ("/dev/stdout", "/dev/stderr")
"""Usually links to the descriptors, which are the log."""

OWN_PROCESSES = 3
"""The script, and what carries its console and passes a stop on: a limit on processes is on the job's own."""
SERVICE_LOG_BYTES = 2 * 1024**2
"""The engine keeps the last one to two times so many bytes of what a service writes, in its own form."""
_PHASES = {
    "created": WorkloadPhase.CREATED,
    "exited": WorkloadPhase.EXITED,
    "dead": WorkloadPhase.EXITED,
    "removing": WorkloadPhase.EXITED,
}


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host that a container sees."""

    source: Path
    target: str
    read_only: bool = False


def mount_options(mounts: list[Mount], *, selinux: bool) -> dict[str, Any]:
    """Return the part of HostConfig that mounts.

    `Mounts` makes the engine refuse a source it does not see, where `Binds` would make an empty directory of it; but
    only `Binds` can ask for the label (`z`) without which SELinux keeps the container out.
    """
    if selinux:
        return {"Binds": [f"{m.source}:{m.target}:z{',ro' if m.read_only else ''}" for m in mounts]}
    return {
        "Mounts": [
            {"Type": "bind", "Source": str(m.source), "Target": m.target, "ReadOnly": m.read_only} for m in mounts
        ]
    }


def job_config(
    plan: ExecutionPlan,
    labels: Mapping[str, str],
    mounts: list[Mount],
    traits: Traits,
    confinement: Confinement,
    *,
    network: str | None = None,
    limit_layer: bool = False,
) -> dict[str, Any]:
    """Return the body of the request that creates a job's container, on `network`, None for the engine's own.

    A job without network has none, but the one with its services.

    With `limit_layer`, what it writes outside of its mounts is limited as its workspace is.
    """
    mode = network if plan.network or plan.services else "none"
    return {
        "Image": plan.image,
        "Labels": dict(labels),
        "Entrypoint": ["/bin/sh"],
        "Cmd": [str(BASE / "run"), str(BASE)],
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
        # The script is the first process, so that nothing in the container can kill or stop it. Signals from outside do
        # not end it either, so an engine that ends all containers has nothing to wait for.
        "StopTimeout": 0,
        "HostConfig": {
            "Init": False,
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            **({} if mode is None else {"NetworkMode": mode}),
            **mount_options(mounts, selinux=traits.selinux),
            **confinement.options(plan.limits, traits, own_processes=OWN_PROCESSES),
            **({"StorageOpt": {"size": str(plan.limits.workspace)}} if limit_layer else {}),
        },
    }


def service_config(
    name: str, service: Service, labels: Mapping[str, str], network: str, traits: Traits, confinement: Confinement
) -> dict[str, Any]:
    """Return the body of the request that creates the container of a service, which has no mount of ours.

    Whether it is ready we find out ourselves: an engine's own checks begin late and go on for as long as it runs.
    """
    command = service.command
    return {
        "Image": service.image,
        "Labels": dict(labels),
        "Env": [f"{variable}={value}" for variable, value in service.env.items()],
        **({} if command is None else {"Cmd": ["/bin/sh", "-c", command] if isinstance(command, str) else command}),
        "Hostname": name,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "LogConfig": _bounded_log(traits),
            "RestartPolicy": {"Name": "no"},
            "NetworkMode": network,
            **confinement.options(service.limits, traits),
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [name]}}},
    }


def _bounded_log(traits: Traits) -> dict[str, Any]:
    """Return the log of a service, which keeps no more than it may have."""
    size = str(SERVICE_LOG_BYTES)
    if traits.podman:
        return {"Type": "k8s-file", "Config": {"max-size": size}}
    return {"Type": "local", "Config": {"max-size": size, "max-file": "2", "compress": "false"}}


def network_config(
    name: str, plan: ExecutionPlan, labels: Mapping[str, str], options: Mapping[str, str]
) -> dict[str, Any]:
    """Return the body of the request that creates the network of a job and its services."""
    return {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": "bridge",
        "Internal": not plan.network,
        "EnableIPv6": False,
        "Options": dict(options),
        "Labels": {**labels, SERVICES: ",".join(plan.services)},
    }


def helper_config(image: str, installation_id: str, command: list[str], mounts: list[Mount], traits: Traits) -> Any:
    """Return the body of the request for a container that runs `command` as root, and vanishes when it has ended."""
    return {
        "Image": image,
        "Labels": {INSTALLATION: installation_id, HELPER: this_process().to_json()},
        "Entrypoint": command,
        "Cmd": [],
        "User": "0",
        "WorkingDir": "/",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "AutoRemove": True,
            "LogConfig": {"Type": "none"},
            "NetworkMode": "none",
            **({"UsernsMode": "host"} if traits.remapped else {}),
            **mount_options(mounts, selinux=traits.selinux),
        },
    }


def probe_config(
    image: str,
    labels: Mapping[str, str],
    arguments: list[str],
    mount: Mount,
    limits: Limits,
    traits: Traits,
    confinement: Confinement,
) -> dict[str, Any]:
    """Return the body of the request for a container that is given what jobs are: shell, mount, rights and limits."""
    return {
        "Image": image,
        "Labels": dict(labels),
        "Entrypoint": ["/bin/sh"],
        "Cmd": arguments,
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "LogConfig": {"Type": "none"},
            "NetworkMode": "none",
            **mount_options([mount], selinux=traits.selinux),
            **confinement.options(limits, traits, own_processes=OWN_PROCESSES),
        },
    }


def job_labels(installation_id: str, spec: WorkloadSpec) -> dict[str, str]:
    """Return the labels that say whose container it is."""
    profile = {} if spec.profile is None else {PROFILE: spec.profile}
    return labels_of(installation_id, spec.key) | profile


def labels_of(installation_id: str, key: WorkloadKey) -> dict[str, str]:
    """Return the labels of everything that belongs to a workload."""
    return {INSTALLATION: installation_id, JOB: key.job_id, ATTEMPT: str(key.attempt)}


def name_of_profile(config: Mapping[str, Any], *more: str) -> str:
    """Return a name for all that is fixed by the body `config` of a request that creates a container, and by `more`."""
    return hashlib.sha256(json.dumps([config, *more], sort_keys=True).encode()).hexdigest()[:16]


def key_of(labels: Mapping[str, str]) -> WorkloadKey | None:
    """Return the workload that `labels` name, or None where they name none."""
    attempt = labels.get(ATTEMPT, "")
    return WorkloadKey(labels[JOB], int(attempt)) if JOB in labels and attempt.isdecimal() else None


def status_of(inspected: Mapping[str, Any]) -> EngineStatus:
    """Return what an answer of `GET /containers/{id}/json` says."""
    state = inspected["State"]
    phase = _PHASES.get(state["Status"], WorkloadPhase.RUNNING)
    return EngineStatus(
        phase, state["ExitCode"] if phase is WorkloadPhase.EXITED else None, bool(state.get("OOMKilled"))
    )


def sample_of(stats: Mapping[str, Any]) -> Sample:
    """Return what an answer of `GET /containers/{id}/stats` says."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    used = memory.get("usage")
    cached = details.get("inactive_file", details.get("total_inactive_file", 0))
    nanoseconds = ((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    transfers = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    networks = (stats.get("networks") or {}).values()
    return Sample(
        0.0,
        memory=None if used is None else max(0, int(used) - int(cached)),
        cpu_seconds=None if nanoseconds is None else round(int(nanoseconds) / 1e9, 6),
        read_bytes=sum(int(entry["value"]) for entry in transfers if entry["op"].lower() == "read"),
        written_bytes=sum(int(entry["value"]) for entry in transfers if entry["op"].lower() == "write"),
        received_bytes=sum(int(network["rx_bytes"]) for network in networks),
        sent_bytes=sum(int(network["tx_bytes"]) for network in networks),
    )


def listed_workload_of(labels: Mapping[str, str] | None, created: float) -> ListedWorkload | None:
    """Return a listed container, created so many seconds after the epoch, or None if it is no job's."""
    key = key_of(labels or {})
    return (
        None if key is None else ListedWorkload(key, datetime.fromtimestamp(created, UTC), (labels or {}).get(PROFILE))
    )
