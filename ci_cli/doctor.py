"""Examines an installation from the command line's side; what the server's parts see comes from the controller."""

import asyncio
import platform
import sys

from ci_cli.announcement import find_announced
from ci_client.aio import CiClient
from ci_client.errors import EX_SOFTWARE, EX_UNAVAILABLE, ClientError, ServerPartsMissing
from ci_client.transport import configured_url
from ci_common.findings import Finding
from ci_common.settings import Settings

_OLDEST_PYTHON = (3, 11)
_CONNECT_SECONDS = 1.0
SERVER, PARTS, ENGINE = "server", "server's parts", "engine"


async def examine_all(server: str | None) -> list[Finding]:
    """Return all findings. Raises SettingsError."""
    server = server or configured_url()
    url = server or find_announced()
    findings = [_python(), await _server(url)]
    if server is not None:
        return findings  # Jobs run there, so nothing else of this machine matters.
    try:
        from ci_cli.roots.doctor import examine_installation, installation_settings

        settings = installation_settings(serves=url is not None)
        own = await examine_installation(settings)
    except ServerPartsMissing as exc:
        remedy = "or name a server with --server or CI_SERVER_URL"
        return [*findings, Finding(PARTS, None if url else False, str(exc), remedy)]
    return [*findings, *own]


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
        return await _no_server()
    try:
        async with CiClient(url) as client:
            await client.health()
    except ClientError as exc:
        return Finding(SERVER, False, str(exc), "start one with `ci serve`, or correct --server or CI_SERVER_URL")
    return Finding(SERVER, True, f"answers at {url}")


async def _no_server() -> Finding:
    """Tell whether the address that `ci serve` would take is free."""
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
