"""What the settings of pytest say that it needs."""

import re
from collections.abc import Iterator
from typing import Any

from ci_server.detection.declarations.python_project import PYPROJECT, PythonProject
from ci_server.detection.declarations.setuptools_files import ini_sections
from ci_server.detection.reading.requirements import strings, table_at

INI_FILES = ("pytest.ini", ".pytest.ini")
TOML_FILES = ("pytest.toml", ".pytest.toml")


_PLUGIN_OPTIONS = {
    "pytest-cov": ("--cov", "--no-cov"),
    "pytest-xdist": ("-n", "--numprocesses", "--maxprocesses", "--dist"),
    "pytest-benchmark": ("--benchmark",),
    "pytest-timeout": ("--timeout",),
    "pytest-asyncio": ("--asyncio-mode",),
    "pytest-randomly": ("--randomly-seed",),
    "pytest-random-order": ("--random-order",),
    "pytest-rerunfailures": ("--reruns",),
    "pytest-mypy": ("--mypy",),
    "pytest-ruff": ("--ruff",),
    "pytest-flake8": ("--flake8",),
    "pytest-black": ("--black",),
    "pytest-html": ("--html", "--self-contained-html"),
    "pytest-django": ("--ds", "--reuse-db", "--nomigrations", "--no-migrations"),
    "pytest-socket": ("--disable-socket", "--allow-hosts"),
    "pytest-doctestplus": ("--doctest-plus",),
    "hypothesis": ("--hypothesis",),
}
"""The options of pytest that a plugin brings, as they begin. Without it, pytest refuses them in `addopts`."""


def required_plugins(project: PythonProject) -> Iterator[tuple[str, list[str]]]:
    """Yield the requirements in `required_plugins` for each file from which pytest may read it."""
    yield from _pytest_settings(project, "required_plugins")


def plugins_of_options(project: PythonProject) -> Iterator[tuple[str, list[str]]]:
    """Yield the plugins whose options are in `addopts`, for each file from which pytest may read it."""
    for file, words in _pytest_settings(project, "addopts"):
        yield file, [plugin for plugin, options in _PLUGIN_OPTIONS.items() if any(_is_of(w, options) for w in words)]


def has_settings(project: PythonProject) -> bool:
    """Return whether pytest finds settings of its own in the project's root, and so looks for none above it."""
    files = project.files
    return (
        any(files.has(file) for file in (*TOML_FILES, *INI_FILES))
        or "pytest" in ini_sections(files.text("tox.ini"))
        or "pytest" in project.table("tool")
        or project.setup_cfg.has_pytest_settings
    )


def writes_reports(project: PythonProject) -> bool:
    """Return whether pytest takes `--junitxml`: no `addopts` turns off what writes it."""
    return not any(word.endswith("no:junitxml") for _, words in _pytest_settings(project, "addopts") for word in words)


def _is_of(word: str, options: tuple[str, ...]) -> bool:
    long = tuple(option for option in options if option.startswith("--"))
    return word.startswith(long) or any(re.fullmatch(rf"{option}(?:\d+|auto|logical)?", word) for option in options)


def _pytest_settings(project: PythonProject, name: str) -> Iterator[tuple[str, list[str]]]:
    for file in TOML_FILES:
        yield file, _words(table_at(project.files.toml(file), "pytest").get(name))
    for file in (*INI_FILES, "tox.ini"):
        yield file, _words(ini_sections(project.files.text(file)).get("pytest", {}).get(name))
    yield PYPROJECT, _words(project.table("tool", "pytest", "ini_options").get(name))
    yield PYPROJECT, _words(project.table("tool", "pytest").get(name))
    yield "setup.cfg", _words(project.setup_cfg.pytest_setting(name))


def _words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else strings(value)
