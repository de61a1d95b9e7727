"""Recognises a Python project and says how to install and test it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ci_common.spec import PlannedStep
from ci_server.pyproject import PythonProject

PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "pytest.ini", "tox.ini", "conftest.py")
TEST_FILES = ("test_*.py", "*_test.py", "tests/**/*.py", "test/**/*.py")
TEST_REQUIREMENTS = (
    "requirements-test.txt", "requirements-tests.txt", "requirements-testing.txt",
    "requirements_test.txt", "requirements_tests.txt", "requirements_testing.txt",
    "test-requirements.txt", "test_requirements.txt", "tests-requirements.txt",
    "tests/requirements.txt", "test/requirements.txt",
    "requirements/test.txt", "requirements/tests.txt", "requirements/testing.txt",
    "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "dev_requirements.txt",
    "requirements/dev.txt", "requirements/development.txt",
)  # fmt: skip

_VERSION_FROM_HISTORY = (
    (re.compile(r"setuptools[-_]scm|hatch[-_]vcs|use_scm_version|flit[-_]scm"), "SETUPTOOLS_SCM_PRETEND_VERSION"),
    (re.compile(r"\bpbr\b"), "PBR_VERSION"),
    (re.compile(r"poetry-dynamic-versioning"), "POETRY_DYNAMIC_VERSIONING_BYPASS"),
)
_NO_VERSION = "0.0.0"


def looks_like_python(directory: Path) -> bool:
    """Tell whether the directory holds a Python project or Python tests."""
    if any((directory / name).is_file() for name in PROJECT_FILES + TEST_REQUIREMENTS):
        return True
    return any(next(directory.glob(pattern), None) is not None for pattern in TEST_FILES)


def python_steps(directory: Path) -> tuple[PlannedStep, ...]:
    """Return the steps that install the project with what its tests need, and run them. Raises InvalidRequest."""
    wanted = list(_requirements(PythonProject(directory)))
    install = shlex.join(["python", "-m", "pip", "install", *wanted, *([] if "pytest" in wanted else ["pytest"])])
    commands = {"install": install, "test": "python -m pytest -v"}
    return tuple(PlannedStep(name=name, shell=text, stop_at_failure=True) for name, text in commands.items())


def python_environment(directory: Path) -> dict[str, str]:
    """Return variables for the job: output at once, a quiet pip, and a version where the history with it is gone."""
    return {
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
    } | _pretended_version(directory)


def _requirements(project: PythonProject) -> Iterator[str]:
    """Yield pip's arguments for the project and what its tests need."""
    if project.has("requirements.txt"):
        yield from ("-r", "requirements.txt")
    for name in TEST_REQUIREMENTS:
        if project.has(name):
            yield from ("-r", name)
            break
    extra = project.test_extra()
    if project.is_installable:
        yield from ("-e", f".[{extra}]" if extra else ".")
    elif project.project is not None:
        yield from project.dependencies(extra)
    yield from project.test_group()


def _pretended_version(directory: Path) -> dict[str, str]:
    """Return the variables that stand in for a history of versions, where the build needs one and finds none."""
    if any((directory / name).exists() for name in ("PKG-INFO", ".git", ".hg")):
        return {}
    project = PythonProject(directory)
    requires = (project.build_system or {}).get("requires")
    text = f"{requires}\n{project.setup_text}"
    variables = {variable: _NO_VERSION for pattern, variable in _VERSION_FROM_HISTORY if pattern.search(text)}
    if project.table("tool", "pdm", "version").get("source") == "scm":
        variables["PDM_BUILD_SCM_VERSION"] = _NO_VERSION
    return variables
