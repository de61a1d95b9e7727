"""`ci doctor`: checks Python and the server here, and has the controller's package check the rest."""

import asyncio
import platform
import sys

from ci_cli.announcement import find_announced
from ci_cli.configuration import default_server, named_server
from ci_cli.roots.embedded import embedded_settings
from ci_client.access.addresses import configured_url
from ci_client.aio import CiClient
from ci_client.errors import EX_SOFTWARE, EX_UNAVAILABLE, ClientError
from ci_common.findings import Finding
from ci_common.settings import Settings
from ci_controller.doctor.examine import examine

_OLDEST_PYTHON = (3, 11)
_CONNECT_SECONDS = 1.0
SERVER, ENGINE = "server", "engine"


async def examine_all(server: str | None) -> list[Finding]:
    """Return all findings. Raises SettingsError."""
    server = named_server(server) if server else configured_url() or default_server()
    url = server or find_announced()
    findings = [_python(), await _server(url)]
    if server is not None:
        return findings  # Jobs run there, so the rest of this machine does not matter.
    settings = Settings.from_env() if url is not None else embedded_settings(carries_jobs=True)
    return [*findings, *await examine(settings)]


def exit_status(findings: list[Finding]) -> int:
    """Return 0 if nothing failed, 69 if only a server or an engine failed to answer, else 70."""
    failed = {finding.name for finding in findings if finding.ok is False}
    if not failed:
        return 0
    return EX_UNAVAILABLE if failed <= {SERVER, ENGINE} else EX_SOFTWARE


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        return Finding("python", True, f"{version}, {sys.executable}")
    return Finding("python", False, f"{version} is too old", "install Python 3.11 or newer")


async def _server(url: str | None) -> Finding:
    if url is None:
        return await _no_server()
    try:
        async with CiClient(url) as client:
            await client.health()
    except ClientError as exc:
        return Finding(SERVER, False, str(exc), "start one with `ci serve`, or correct --server or CI_SERVER_URL")
    return Finding(SERVER, True, f"answers at {url}")


async def _no_server() -> Finding:
    """Return whether the address that `ci serve` would take is free, as a finding."""
    settings = Settings.from_env()
    none = "none is configured or running: commands bring their own, embedded"
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(settings.host, settings.port)
    except (OSError, TimeoutError):
        return Finding(SERVER, True, none)
    writer.close()
    address = f"{settings.host}:{settings.port}"
    remedy = f"if it is yours: export CI_SERVER_URL=http://{address}; to serve beside it: ci serve --port N"
    return Finding(SERVER, None, f"{none}; and something listens at {address}, where `ci serve` would", remedy)
