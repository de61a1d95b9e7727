"""Chooses the language whose tests are run, where a project has files of several."""

from dataclasses import dataclass, replace
from pathlib import Path

from ci_server.detection.detected import Detected
from ci_server.detection.golang import go_steps, looks_like_go
from ci_server.detection.node.steps import MANIFEST, node_steps, test_script
from ci_server.detection.python.installer import Installer
from ci_server.detection.python.steps import (
    declares_python,
    looks_like_python,
    prepared_steps,
    python_environment,
    python_files,
    python_steps,
)
from ci_server.detection.reading.project_files import ProjectFiles
from ci_server.detection.rust import looks_like_rust, rust_steps


@dataclass(frozen=True, slots=True)
class _Language:
    name: str
    file: str
    """What it is known by, for the log."""


_PYTHON = _Language("Python", "its Python files")
_GO = _Language("Go", "go.mod")
_NODE = _Language("Node.js", "package.json")
_RUST = _Language("Rust", "Cargo.toml")


def looks_like_project(directory: Path) -> bool:
    """Return whether the directory has a file of a language whose projects are detected."""
    others = looks_like_go(directory) or looks_like_rust(directory) or (directory / MANIFEST).is_file()
    return others or looks_like_python(directory)


def detect(directory: Path, *, prepared: bool, installer: Installer) -> Detected | None:
    """Return how the project is tested, or None if it is of no known language. Raises InvalidRequest.

    With `prepared`, what does not depend on the project's own code is its setup.
    """
    languages = list(_languages(directory))
    if not languages:
        return None
    found = _steps(languages[0], directory, prepared, installer)
    if len(languages) == 1:
        return found
    others = " and ".join(language.file for language in languages[1:])
    return found.saying(
        [
            f"tests the {languages[0].name} project, and leaves {others} alone; steps in ci.yaml can run all of them",
        ]
    )


def reasons(directory: Path) -> list[str]:
    """Return why the project is taken for one of the language that is tested, for people."""
    languages = list(_languages(directory))
    if not languages:
        return []
    files = python_files(directory) if languages[0] is _PYTHON else []
    known_by = f"{', '.join(files)}" if files else languages[0].file
    return [f"{languages[0].name}, because of {known_by}"]


def _languages(directory: Path) -> list[_Language]:
    """Return the languages of the project, the one that is tested first.

    Files that declare a project or its tests come before Python files that are only named as tests are.
    """
    declares = declares_python(directory)
    found = {
        _PYTHON: declares,
        _GO: looks_like_go(directory),
        _NODE: (directory / MANIFEST).is_file() and test_script(ProjectFiles(directory)) is not None,
        _RUST: looks_like_rust(directory),
    }
    languages = [language for language, is_there in found.items() if is_there]
    if not declares and looks_like_python(directory):
        languages.append(_PYTHON)
    return languages


def _steps(language: _Language, directory: Path, prepared: bool, installer: Installer) -> Detected:
    if language is _GO:
        return go_steps(directory, prepared=prepared)
    if language is _NODE:
        return node_steps(directory, prepared=prepared)
    if language is _RUST:
        return rust_steps(directory, prepared=prepared)
    found = prepared_steps(directory, installer) if prepared else Detected(python_steps(directory))
    return replace(found, env=python_environment(directory), is_python=True)
