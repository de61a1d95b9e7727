"""What `ci doctor` finds out about the controller's side of an installation."""

import os
import shutil

from ci_common.errors import CiError, RuntimeFault, RuntimeUnavailable
from ci_common.findings import Finding
from ci_common.layout import DataDirectory
from ci_common.settings import Settings, SettingsError
from ci_controller.main import assembled
from ci_controller.runtime.protocol import Runtime

LITTLE_SPACE = 1024**3


async def examine(settings: Settings) -> list[Finding]:
    """Look at database, data directory, engine and image. Changes nothing but making the first two where missing.

    Raises SettingsError.
    """
    try:
        async with assembled(settings) as parts:
            return [
                Finding("database", True, f"{settings.db_path.absolute()}"),
                _examine_disk(parts.data),
                *await _examine_engine(settings, parts.runtimes["docker"]),
            ]
    except SettingsError:
        raise
    except (CiError, OSError) as exc:
        return [Finding("database", False, str(exc), "set CI_DB_PATH and CI_DATA_DIR to places that can be written")]


def _examine_disk(data: DataDirectory) -> Finding:
    free = shutil.disk_usage(data.path).free
    message = f"{data.path}, {free / 1024**3:.1f} GiB free"
    if not os.access(data.path, os.W_OK):
        return Finding("data directory", False, message, "make it writable, or set CI_DATA_DIR to another place")
    if free < LITTLE_SPACE:
        return Finding("data directory", None, message, "uploads, workspaces and logs need room; free some")
    return Finding("data directory", True, message)


async def _examine_engine(settings: Settings, docker: Runtime) -> list[Finding]:
    wanted = settings.runtime
    if wanted == "process":
        return [Finding("engine", None, "CI_RUNTIME=process: jobs are not isolated", "set CI_RUNTIME=docker or auto")]
    try:
        await docker.open()
    except RuntimeUnavailable as exc:
        if wanted == "docker":
            return [Finding("engine", False, str(exc), "start the Docker engine, or set CI_RUNTIME=process")]
        remedy = "start a Docker engine for isolated jobs, and add yourself to the group docker"
        return [Finding("engine", None, f"{exc}; jobs run as processes, without isolation", remedy)]
    return [Finding("engine", True, "the Docker engine answers"), await _examine_image(settings, docker)]


async def _examine_image(settings: Settings, docker: Runtime) -> Finding:
    image = settings.default_image
    try:
        if await docker.has_image(image):
            return Finding("default image", True, f"{image} is here")
    except RuntimeFault as exc:
        return Finding("default image", False, f"{image}: {exc}", "set CI_DEFAULT_IMAGE to an image you have")
    return Finding("default image", None, f"{image} is not here; the first job has it pulled", f"docker pull {image}")
