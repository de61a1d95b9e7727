"""Which versions are at work."""

from importlib.metadata import PackageNotFoundError, version

from ci_common.errors import Unavailable
from ci_common.findings import Finding
from ci_persistence.sqlite.schema import SQLITE_VERSION, check_version

_PACKAGES = ("aiodocker", "aiohttp", "aiosqlite", "pydantic", "sse-starlette", "starlette", "uvicorn", "uvloop")


def examine_versions() -> Finding:
    """Name them, since every report of a fault begins with them."""
    packages = ", ".join(f"{name} {version_of(name)}" for name in _PACKAGES)
    message = f"ci-server {version_of('ci-server')}; SQLite {SQLITE_VERSION}; {packages}"
    try:
        check_version()
    except Unavailable as exc:
        return Finding("versions", False, f"{message}; {exc}", "install a newer Python, which brings its own SQLite")
    return Finding("versions", True, message)


def version_of(package: str) -> str:
    """Return the version of an installed package, or what is known instead."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
