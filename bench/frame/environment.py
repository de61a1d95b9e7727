"""The machine, versions and settings of a run."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from bench.figures import machine
from ci_common.settings import Settings

LIBRARIES = (
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "aiosqlite",
    "aiodocker",
    "aiohttp",
    "httpx",
    "sse-starlette",
)

QUICK = "`--quick`: fewer samples, jobs, bytes and rows than the table says; not to be quoted"


def environment(image: str, *, quick: bool) -> dict[str, str]:
    """Describe a run's machine, versions and settings. Call it before the run, which may change them."""
    return {
        "machine": f"{machine()}, {processor()}",
        "load before": f"{os.getloadavg()[0]:.2f} (of a minute); figures of a loaded machine say little",
        "ci-server": f"{own_version()}",
        "libraries": ", ".join(f"{name} {installed(name)}" for name in LIBRARIES),
        "image": f"`{image}`",
        "settings": "the defaults, but for those named with each family" + settings_set(),
        "kind of run": QUICK if quick else "full",
    }


def processor() -> str:
    """Return the name of the processor, or the architecture if the name is unknown."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def own_version() -> str:
    """Return the product's version, and its commit in a repository."""
    ask = ["git", "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return f"{installed('ci-server')}{f', commit {commit}' if commit else ''}"


def installed(name: str) -> str:
    """Return the version of a library."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def settings_set() -> str:
    """Return the product's settings that the environment changes, as text."""
    names = sorted(set(Settings.env_names().values()) & set(os.environ))
    return f"; set in the environment: {', '.join(f'`{name}`' for name in names)}" if names else ""
