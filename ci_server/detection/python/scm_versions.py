"""Sets a version for builds that take it from version control, if the history or its program is missing."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ci_server.detection.declarations.python_project import PythonProject
from ci_server.detection.reading.project_files import ProjectFiles

NO_VERSION = "0.0.0"


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    pattern: re.Pattern[str]
    variable: str | None
    """The variable that replaces the history; None if the tool has none."""


_TOOLS = (
    _Tool(
        "setuptools-scm",
        re.compile(r"setuptools[-_.]scm|hatch[-_.]vcs|use_scm_version|flit[-_.]scm|vcs[-_.]versioning"),
        "SETUPTOOLS_SCM_PRETEND_VERSION",
    ),
    _Tool("pbr", re.compile(r"\bpbr\b"), "PBR_VERSION"),
    _Tool("poetry-dynamic-versioning", re.compile(r"poetry-dynamic-versioning"), "POETRY_DYNAMIC_VERSIONING_BYPASS"),
    _Tool("uv-dynamic-versioning", re.compile(r"uv-dynamic-versioning"), "UV_DYNAMIC_VERSIONING_BYPASS"),
    _Tool("versioningit", re.compile(r"\bversioningit\b"), None),
    _Tool("setuptools-git-versioning", re.compile(r"setuptools[-_.]git[-_.]versioning"), None),
    _Tool("hatch-semver-version or dunamai", re.compile(r"\bdunamai\b"), None),
)
_PDM = _Tool("PDM", re.compile(r"(?!)"), "PDM_BUILD_SCM_VERSION")


def pretended_version(directory: Path) -> dict[str, str]:
    """Return the variables that set a version, if the build needs the history and there is none."""
    if _is_archive(directory) or _history_program(directory) is not None:
        return {}
    return dict.fromkeys((tool.variable for tool in _tools(PythonProject(directory)) if tool.variable), NO_VERSION)


def version_preamble(project: PythonProject) -> str:
    """Return shell text that logs what the build lacks for its version, and sets one; empty if nothing is lacking.

    Only the job's own shell can know whether the image has the program that reads the history.
    """
    if _is_archive(project.directory):
        return ""
    tools = list(_tools(project))
    program = _history_program(project.directory)
    if program is None:
        without = [tool.name for tool in tools if tool.variable is None]
        return "".join(_say(f"ci: {name} takes the version from the version history, which was not uploaded: "
                            "write !.git/ into .ciignore, and use an image with git") for name in without)  # fmt: skip
    lines = [line for tool in tools for line in _without_program(tool, program)]
    return f"if ! command -v {program} >/dev/null 2>&1; then\n{''.join(lines)}fi\n" if lines else ""


def _without_program(tool: _Tool, program: str) -> Iterator[str]:
    lacks = f"ci: this image has no {program}, which {tool.name} needs to read the version from the version history"
    instead = f"use an image that has it, such as python:3.12 without -slim, or install {program} in a step of your own"
    if tool.variable is None:
        yield _say(f"{lacks}; {instead}")
        return
    yield f'if [ -z "${{{tool.variable}:-}}" ]; then\n'
    yield f"export {tool.variable}={NO_VERSION}\n"
    yield _say(f"{lacks}. The version is set to {NO_VERSION}: set {tool.variable}, or {instead}")
    yield "fi\n"


def _say(text: str) -> str:
    return f"echo {shlex.quote(text)}\n"


def _is_archive(directory: Path) -> bool:
    """Return whether files name the version: those of a source distribution, or of an archive of a repository."""
    if (directory / "PKG-INFO").exists() or (directory / ".hg_archival.txt").exists():
        return True
    described = ProjectFiles(directory).text(".git_archival.txt")
    return bool(described) and "$Format:" not in described


def _history_program(directory: Path) -> str | None:
    """Return the program that reads the uploaded history; None if there is none.

    A `.git` that is a file, as in a worktree or submodule, names a directory that is not in the upload.
    """
    return next((program for program in ("git", "hg") if (directory / f".{program}").is_dir()), None)


def _tools(project: PythonProject) -> Iterator[_Tool]:
    providers = (project.table("tool", "scikit-build").get("metadata"), project.hatch.get("version"))
    text = f"{project.build_requirements}\n{providers}\n{project.setup_text}"
    yield from (tool for tool in _TOOLS if tool.pattern.search(text))
    if project.table("tool", "pdm", "version").get("source") == "scm":
        yield _PDM
