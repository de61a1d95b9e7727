"""Detects a Python project, and plans the steps that install and test it."""

import shlex
from pathlib import Path

from ci_common.spec import PlannedStep
from ci_server.detection.declarations.python_project import PythonProject
from ci_server.detection.declarations.runners import INI_FILES, TOML_FILES
from ci_server.detection.python.pip_install import pip_arguments
from ci_server.detection.python.requirement_files import find_requirement_files
from ci_server.detection.python.scm_versions import pretended_version, version_preamble

PROJECT_FILES = (
    "pyproject.toml", "setup.py", "setup.cfg", "Pipfile", *TOML_FILES, *INI_FILES, "tox.ini", "tox.toml", "conftest.py",
)  # fmt: skip
TEST_FILES = ("test_*.py", "*_test.py", "tests/**/*.py", "test/**/*.py")


def looks_like_python(directory: Path) -> bool:
    """Return whether the directory has a Python project or Python tests."""
    if any((directory / name).is_file() for name in PROJECT_FILES) or find_requirement_files(directory):
        return True
    return any(next(directory.glob(pattern), None) is not None for pattern in TEST_FILES)


def python_steps(directory: Path) -> tuple[PlannedStep, ...]:
    """Return the steps that install the project for its tests, and run the tests. Raises InvalidRequest."""
    project = PythonProject(directory)
    installs = [["python", "-m", "pip", "install", *arguments] for arguments in pip_arguments(project)]
    install = version_preamble(project) + " && ".join(map(shlex.join, installs))
    commands = {"install": install, "test": "python -m pytest -v"}
    return tuple(PlannedStep(name=name, shell=text, stop_at_failure=True) for name, text in commands.items())


def python_environment(directory: Path) -> dict[str, str]:
    """Return variables for the job: unbuffered output, a quiet pip, and a version if the history is missing."""
    return {
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
    } | pretended_version(directory)
