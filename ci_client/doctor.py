"""Examines an installation from the command line's side; what the server's parts see comes from the controller."""

import asyncio
import os
import platform
import shutil
import sys

from ci_client.aio import CiClient
from ci_client.announcement import find_announced
from ci_client.errors import EX_SOFTWARE, EX_UNAVAILABLE, ClientError, ServerPartsMissing
from ci_common.findings import Finding
from ci_common.settings import Settings

_OLDEST_PYTHON = (3, 11)
_LITTLE_SPACE = 1024**3
SERVER, PARTS, ENGINE = "server", "server's parts", "engine"


async def examine_all(server: str | None) -> list[Finding]:
    """Return all findings. Raises SettingsError."""
    url = server or find_announced()
    findings = [_python(), await _server(url)]
    if server is not None:
        return findings  # Jobs run there, so nothing else of this machine matters.
    try:
        from ci_client.roots.doctor import examine_installation, installation_settings

        settings = installation_settings(serves=url is not None)
        own = await examine_installation(settings)
    except ServerPartsMissing as exc:
        remedy = "pip install 'ci-server[server]', or name a server with --server or CI_SERVER_URL"
        return [*findings, Finding(PARTS, None if url else False, str(exc), remedy)]
    return [*findings, await asyncio.to_thread(_data_directory, settings), *own]


def exit_status(findings: list[Finding]) -> int:
    """Return 0 if nothing failed, 69 if all that failed is something that does not answer, else 70."""
    failed = {finding.name for finding in findings if finding.ok is False}
    if not failed:
        return 0
    return EX_UNAVAILABLE if failed <= {SERVER, PARTS, ENGINE} else EX_SOFTWARE


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        return Finding("python", True, f"{version}, {sys.executable}")
    return Finding("python", False, f"{version} is too old", "install Python 3.11 or newer")


async def _server(url: str | None) -> Finding:
    if url is None:
        return Finding(SERVER, True, "none is configured or running: commands bring their own, embedded")
    try:
        async with CiClient(url) as client:
            await client.health()
    except ClientError as exc:
        return Finding(SERVER, False, str(exc), "start one with `ci serve`, or correct --server or CI_SERVER_URL")
    return Finding(SERVER, True, f"answers at {url}")


def _data_directory(settings: Settings) -> Finding:
    place = settings.data_path
    existing = next(path for path in (place, *place.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = "make it writable, or name others with CI_DB_PATH and CI_DATA_DIR"
        return Finding("data directory", False, f"{place} cannot be written to", remedy)
    free = shutil.disk_usage(existing).free
    message = f"{place}, {free / 1024**3:.1f} GiB free"
    if free < _LITTLE_SPACE:
        return Finding("data directory", None, message, "free some space, or move it with CI_DATA_DIR")
    return Finding("data directory", True, message)
