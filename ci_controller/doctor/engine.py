"""The engine: what it is, what its containers see and are held to, and which of them are ours."""

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_common.findings import Finding
from ci_common.parsing.text import shown_size
from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import ImageInvalid, RuntimeFault, RuntimeUnavailable
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_controller.doctor.confinement import examine_confinement
from ci_controller.doctor.engine_leftovers import examine_room, examine_what_is_left
from ci_controller.doctor.leftovers import examine_containers
from ci_controller.doctor.machine import examine_disk, nearest_existing
from ci_controller.doctor.probe import NAMES, examine_probe
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION
from ci_controller.runtime.docker.engine import Absent, Engine, Traits
from ci_controller.runtime.docker.images import check_reference
from ci_controller.runtime.docker.probing import Probe, probe
from ci_persistence.stores.inspection import DatabaseReport

PATIENCE = 5.0
"""Seconds that the engine may take for one answer."""
ALL_SECONDS = 30.0
"""Seconds that it may take for all of them."""
_LIMITS = {"MemoryLimit": "memory", "SwapLimit": "swap", "PidsLimit": "pids", "CpuCfsQuota": "cpus"}


async def examine_engine(settings: Settings, data: DataDirectory, report: DatabaseReport | None) -> list[Finding]:
    """Ask the engine, in bounded time. Raises SettingsError."""
    if settings.runtime == "process":
        return [Finding("engine", None, "CI_RUNTIME=process: jobs are not isolated", "export CI_RUNTIME=docker")]
    engine = Engine(settings.docker_url, patience=PATIENCE)
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(ALL_SECONDS):
            await _ask(engine, settings, data, report, findings)
    except RuntimeUnavailable as exc:
        findings.append(_no_engine(settings, exc))
    except TimeoutError:
        message = f"it took more than {ALL_SECONDS:g} s to answer, so not everything was looked at"
        findings.append(Finding("engine", False, message, "see what keeps it busy: docker info; journalctl -u docker"))
    finally:
        await engine.close()
    return findings


async def _ask(
    engine: Engine, settings: Settings, data: DataDirectory, report: DatabaseReport | None, findings: list[Finding]
) -> None:
    traits = await engine.open()
    async with engine.call() as docker:
        info, version = await docker.system.info(), await docker.version()
    findings += [_what(engine, info, version, traits), _limits(info), examine_room(settings, info), *_disk(info)]
    findings += examine_confinement(settings, info, traits)
    has_image, about_image = await _image(engine, settings.default_image, version)
    if has_image:
        findings += examine_probe(await _probe(engine, settings, data, report, traits), about_image, data)
    else:
        message = f"not looked at, since {settings.default_image}, which the probe needs, is not here"
        remedy = f"docker pull {settings.default_image} && ci doctor"
        findings += [about_image, *(Finding(name, None, message, remedy) for name in NAMES)]
    findings += await examine_containers(engine, settings.database, data, report)
    findings += await examine_what_is_left(engine, settings.database, data, report)


def _what(engine: Engine, info: Mapping[str, Any], version: Mapping[str, Any], traits: Traits) -> Finding:
    features = {"rootless": traits.rootless, "userns-remap": traits.remapped, "SELinux": traits.selinux}
    parts = [
        f"Docker {version.get('Version')} (API {version.get('ApiVersion')}) at {engine.address}",
        f"storage {info.get('Driver')}",
        f"cgroup v{info.get('CgroupVersion', '1')} ({info.get('CgroupDriver')})",
        *(name for name, there in features.items() if there),
    ]
    return Finding("engine", True, ", ".join(parts))


def _limits(info: Mapping[str, Any]) -> Finding:
    # An engine that does not mention a limit, as one of another make, is not taken to be without it.
    missing = [name for key, name in _LIMITS.items() if info.get(key) is False]
    if not missing:
        return Finding("engine limits", True, f"it can enforce {', '.join(_LIMITS.values())}")
    remedy = (
        "boot with cgroup_enable=memory swapaccount=1 on the kernel's command line"
        if not set(missing) - {"memory", "swap"}
        else "for a rootless engine: systemctl edit user@.service, with [Service] Delegate=cpu cpuset io memory pids"
    )
    message = f"it cannot enforce {', '.join(missing)}: these limits of jobs do nothing"
    return Finding("engine limits", None, message, remedy)


def _disk(info: Mapping[str, Any]) -> list[Finding]:
    root = Path(str(info.get("DockerRootDir") or ""))
    try:
        return [examine_disk("engine's disk", root)] if root.is_absolute() and root.is_dir() else []
    except OSError:
        return []  # Closed to us.


async def _image(engine: Engine, image: str, version: Mapping[str, Any]) -> tuple[bool, Finding]:
    """Return whether the default image is here and can be run, and what there is to say of it."""
    name = "default image"
    try:
        check_reference(image)
        async with engine.call() as docker:
            about = await docker.images.inspect(image)
    except Absent:
        message = f"{image} is not here; the first job that names none has it pulled"
        return False, Finding(name, None, message, f"docker pull {image}")
    except ImageInvalid as exc:
        return False, Finding(name, False, f"CI_DEFAULT_IMAGE: {exc}", "export CI_DEFAULT_IMAGE=python:3.12-slim")
    theirs, ours = f"{about.get('Os')}/{about.get('Architecture')}", f"{version.get('Os')}/{version.get('Arch')}"
    message = f"{image}, {theirs}, {shown_size(about.get('Size', 0))}"
    if theirs == ours:
        return True, Finding(name, True, message)
    problem = f"{message}: the engine is {ours}, so its programs may not run"
    return True, Finding(name, None, problem, f"docker pull --platform {ours} {image}")


async def _probe(
    engine: Engine, settings: Settings, data: DataDirectory, report: DatabaseReport | None, traits: Traits
) -> Probe | RuntimeFault | OSError:
    # With the installation's label and our name, so that its controller removes what a killed doctor has left.
    ours = report.installation.id if report is not None and report.installation is not None else uuid.uuid4().hex
    try:
        labels = {INSTALLATION: ours, HELPER: this_process().to_json()}
        folder = nearest_existing(data.path)
        return await probe(engine, settings.default_image, labels, folder, traits, Confinement(settings))
    except (RuntimeFault, OSError) as exc:
        return exc


def _no_engine(settings: Settings, exc: RuntimeUnavailable) -> Finding:
    if settings.runtime == "docker":
        return Finding("engine", False, str(exc), "start it: systemctl start docker (or export CI_RUNTIME=process)")
    remedy = (
        "for isolated jobs, start a Docker engine (systemctl start docker) and join its group: usermod -aG docker $USER"
    )
    return Finding("engine", None, f"{exc}; jobs run as processes, without isolation", remedy)
