"""Recognises a Python project and says how to install and test it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ci_common.spec import PlannedStep
from ci_server.recognition.needs import find_needs
from ci_server.recognition.pyproject import PythonProject
from ci_server.recognition.requirement_files import find_requirement_files, has_hashes

PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "Pipfile", "pytest.ini", "tox.ini", "conftest.py")
TEST_FILES = ("test_*.py", "*_test.py", "tests/**/*.py", "test/**/*.py")

_VERSION_FROM_HISTORY = (
    (re.compile(r"setuptools[-_]scm|hatch[-_]vcs|use_scm_version|flit[-_]scm"), "SETUPTOOLS_SCM_PRETEND_VERSION"),
    (re.compile(r"\bpbr\b"), "PBR_VERSION"),
    (re.compile(r"poetry-dynamic-versioning"), "POETRY_DYNAMIC_VERSIONING_BYPASS"),
    (re.compile(r"uv-dynamic-versioning"), "UV_DYNAMIC_VERSIONING_BYPASS"),
)
_NO_VERSION = "0.0.0"


def looks_like_python(directory: Path) -> bool:
    """Tell whether the directory holds a Python project or Python tests."""
    if any((directory / name).is_file() for name in PROJECT_FILES) or find_requirement_files(directory):
        return True
    return any(next(directory.glob(pattern), None) is not None for pattern in TEST_FILES)


def python_steps(directory: Path) -> tuple[PlannedStep, ...]:
    """Return the steps that install the project with what its tests need, and run them. Raises InvalidRequest."""
    installs = [["python", "-m", "pip", "install", *arguments] for arguments in _installs(PythonProject(directory))]
    install = " && ".join(map(shlex.join, installs))
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


def _installs(project: PythonProject) -> Iterator[list[str]]:
    """Yield pip's arguments: a call for each file with hashes, and one for the project and all that its tests need."""
    files = find_requirement_files(project.directory)
    needs = find_needs(project, files)
    together: list[str] = []
    for option, path in dict.fromkeys([*(("-r", path) for path in files.runtime[:1]), *needs.files]):
        if option == "-r" and has_hashes(project.directory, path):
            yield [option, path]
        else:
            together += (option, path)
    if project.is_installable:
        together += ("-e", f".[{','.join(needs.extras)}]" if needs.extras else ".")
    else:
        together += project.dependencies()
        together += (requirement for extra in needs.extras for requirement in project.requirements_of(extra))
    together += needs.requirements
    yield [*together, *([] if "pytest" in together else ["pytest"])]


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
