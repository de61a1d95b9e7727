"""Detects a Python project, and plans the steps that install and test it."""

import shlex
from pathlib import Path

from ci_common.spec import PlannedStep
from ci_server.detection.declarations.pytest_settings import INI_FILES, TOML_FILES, has_settings, writes_reports
from ci_server.detection.declarations.python_project import PythonProject
from ci_server.detection.detected import SETUP, Detected, say, shell_steps
from ci_server.detection.python.installer import (
    ALONE,
    Installer,
    calls,
    install_build_tools,
    preamble,
    with_build_tools,
)
from ci_server.detection.python.pip_install import Calls, PreparedInstall, copying, pip_arguments, prepared_install
from ci_server.detection.python.requirement_files import find_requirement_files
from ci_server.detection.python.scm_versions import pretended_version, version_preamble

PROJECT_FILES = (
    "pyproject.toml", "setup.py", "setup.cfg", "Pipfile", *TOML_FILES, *INI_FILES, "tox.ini", "tox.toml", "conftest.py",
)  # fmt: skip
TEST = "python -m pytest -v"
REPORT = (
    "-o junit_family=xunit1 -o junit_logging=out-err -o junit_log_passing_tests=false "
    '--junitxml="$CI_REPORTS/pytest.xml"'
)
"""Has pytest write a report outside of the project: with the files of tests, and with what those wrote that fail."""
NO_SETTINGS = "-c /dev/null --rootdir=. --confcutdir=."
"""Has pytest look for no settings above a project that has none: a job that runs as a process lies in the server's
files, which may lie in another project."""
QUIET_PIP = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_PROGRESS_BAR": "off", "PIP_ROOT_USER_ACTION": "ignore"}
"""Variables that change only what pip writes, not what it installs."""
TEST_FILES = ("test_*.py", "*_test.py", "tests/**/*.py", "test/**/*.py")


def declares_python(directory: Path) -> bool:
    """Return whether the directory has a file that only Python projects have."""
    return any((directory / name).is_file() for name in PROJECT_FILES) or bool(find_requirement_files(directory))


def python_files(directory: Path) -> list[str]:
    """Return the files at the root that only Python projects have."""
    found = find_requirement_files(directory)
    named = [name for name in PROJECT_FILES if (directory / name).is_file()]
    return [*named, *found.runtime, *found.tests, *found.development]


def looks_like_python(directory: Path) -> bool:
    """Return whether the directory has a Python project or Python tests."""
    if declares_python(directory):
        return True
    return any(next(directory.glob(pattern), None) is not None for pattern in TEST_FILES)


def python_steps(directory: Path) -> tuple[PlannedStep, ...]:
    """Return the steps that install the project for its tests, and run the tests. Raises InvalidRequest."""
    project = PythonProject(directory)
    whole = list(pip_arguments(project))
    install = version_preamble(project) + _or(_by_pip(whole), _by_pip(copying(project, whole)), _COPIED)
    return shell_steps({"install": install, "test": test_command(project)})


def _by_pip(arguments: Calls) -> str:
    return " && ".join(shlex.join(["python", "-m", "pip", "install", *words]) for words in arguments)


_COPIED = "so a copy of it is installed"
_ISOLATED = "so its build gets an environment of its own"


def _or(text: str, otherwise: str, what: str) -> str:
    """Return the text that does `otherwise` if `text` fails, and says so."""
    return f"{text} || {{ echo 'ci: that did not work, {what}'; {otherwise}; }}" if otherwise else text


def test_command(project: PythonProject) -> str:
    """Return the shell text that runs the tests of a project."""
    words = [TEST]
    if not has_settings(project):
        words.append(NO_SETTINGS)
    if writes_reports(project):
        words.append(REPORT)
    return " ".join(words)


def prepared_steps(directory: Path, installer: Installer) -> Detected:
    """Return the same as `python_steps`, with all that needs none of the project's own files as the setup.

    Raises InvalidRequest.
    """
    project = PythonProject(directory)
    parts = prepared_install(project)
    begin = preamble(installer, parts.needs_pip)
    with_alone = preamble(installer, parts.needs_pip, alone=True)
    texts = {SETUP: begin + install_build_tools(parts.build_tools) + calls(parts.setup)} if parts.setup else {}
    if parts.install:
        note = say(f"no environment is prepared of all requirements: {parts.note}") if parts.note else ""
        texts["install"] = (
            (with_alone if parts.is_alone else begin) + version_preamble(project) + note + _install(parts)
        )
    texts["test"] = test_command(project)
    return Detected(
        shell_steps(texts),
        int(bool(parts.setup)),
        tuple(parts.inputs),
        preambles=(with_alone, begin),
        needs_pip=parts.needs_pip if installer == "auto" else "",
    )


def _install(parts: PreparedInstall) -> str:
    text = calls(parts.install, ALONE) if parts.is_alone else calls(parts.install)
    text = with_build_tools(text) if parts.build_tools else text
    return _or(text, calls(parts.otherwise), _COPIED if parts.is_copied else _ISOLATED)


def python_environment(directory: Path) -> dict[str, str]:
    """Return variables for the job: unbuffered output, a quiet pip, and a version if the history is missing."""
    return {"PYTHONUNBUFFERED": "1"} | QUIET_PIP | pretended_version(directory)
