"""What the engine and the default image are."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_common.errors import ImageInvalid
from ci_common.findings import Finding
from ci_common.times import to_rfc3339, utc_now
from ci_controller.doctor.disk import examine_room
from ci_controller.doctor.machine import CLOCK_TOLERANCE
from ci_controller.runtime.docker.engine import Absent, Engine, Traits
from ci_controller.runtime.docker.images import check_reference

_LIMITS = {"MemoryLimit": "memory", "SwapLimit": "swap", "PidsLimit": "pids", "CpuCfsQuota": "cpus"}


async def examine_engine(engine: Engine, traits: Traits) -> list[Finding]:
    """Ask an engine that answers what it is and what it can do."""
    before = utc_now()
    async with engine.call() as docker:
        info, version = await docker.system.info(), await docker.version()
    after = utc_now()
    return [_what(engine, info, version, traits), _limits(info), *_clock(info, before, after), *_room(info)]


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
    # An engine that does not speak of a limit, as one of another make, is not taken to be without it.
    missing = [name for key, name in _LIMITS.items() if info.get(key) is False]
    if not missing:
        return Finding("engine limits", True, f"it can enforce {', '.join(_LIMITS.values())}")
    remedy = (
        "boot with cgroup_enable=memory swapaccount=1 on the kernel's command line"
        if not set(missing) - {"memory", "swap"}
        else "for a rootless engine: systemctl edit user@.service, with [Service] Delegate=cpu cpuset io memory pids"
    )
    return Finding(
        "engine limits", None, f"it cannot enforce {', '.join(missing)}: these limits of jobs do nothing", remedy
    )


def _clock(info: Mapping[str, Any], before: datetime, after: datetime) -> list[Finding]:
    try:
        theirs = datetime.fromisoformat(str(info.get("SystemTime"))).astimezone(UTC)
    except ValueError:
        return []
    if before - CLOCK_TOLERANCE <= theirs <= after + CLOCK_TOLERANCE:
        return []
    message = f"it says {to_rfc3339(theirs)}, and here it is {to_rfc3339(after)}"
    return [Finding("engine clock", None, message, "set both clocks: timedatectl set-ntp true")]


def _room(info: Mapping[str, Any]) -> list[Finding]:
    root = Path(str(info.get("DockerRootDir") or ""))
    try:
        return [examine_room("engine's disk", root)] if root.is_absolute() and root.is_dir() else []
    except OSError:
        return []  # Closed to us.


async def examine_image(engine: Engine, image: str) -> tuple[bool, Finding]:
    """Return whether the default image is here and can be run, and what there is to say of it."""
    try:
        check_reference(image)
        async with engine.call() as docker:
            about, version = await docker.images.inspect(image), await docker.version()
    except Absent:
        message = f"{image} is not here; the first job that names none has it pulled"
        return False, Finding("default image", None, message, f"docker pull {image}")
    except ImageInvalid as exc:
        return False, Finding(
            "default image", False, f"CI_DEFAULT_IMAGE: {exc}", "export CI_DEFAULT_IMAGE=python:3.12-slim"
        )
    theirs, ours = f"{about.get('Os')}/{about.get('Architecture')}", f"{version.get('Os')}/{version.get('Arch')}"
    message = f"{image}, {theirs}, {about.get('Size', 0) / 1024**2:.0f} MiB"
    if theirs != ours:
        remedy = f"docker pull --platform {ours} {image}"
        return True, Finding(
            "default image", None, f"{message}: the engine is {ours}, so its programs may not run", remedy
        )
    return True, Finding("default image", True, message)
