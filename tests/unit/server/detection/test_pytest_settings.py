"""Which settings pytest takes in the step that a Python project gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci_server.detection.declarations.python_project import PythonProject
from ci_server.detection.python.steps import NO_SETTINGS
from ci_server.detection.python.steps import test_command as command_of
from tests.helpers.service import tree

SETTINGS = {
    "pytest.ini": "",
    ".pytest.ini": "[pytest]\n",
    "pytest.toml": "[pytest]\n",
    "tox.ini": "[pytest]\n",
    "setup.cfg": "[tool:pytest]\n",
    "pyproject.toml": "[tool.pytest.ini_options]\n",
}


@pytest.mark.parametrize("project", [{}, {"pyproject.toml": "[project]\nname = 'shop'\n"}, {"tox.ini": "[tox]\n"}])
def test_settings_above_a_project_without_any_are_not_taken(tmp_path: Path, project: dict[str, str]) -> None:
    above = {"pytest.ini": "[pytest]\naddopts = --no-such-option\n", "conftest.py": "raise SystemExit('above')\n"}
    tree(tmp_path, above)
    inside = tree(tmp_path / "data/shop", {"tests/test_cart.py": "def test_total(): pass\n", **project})
    done = subprocess.run(
        ["sh", "-c", command_of(PythonProject(inside)).replace("python", sys.executable, 1)],
        cwd=inside,
        env={**os.environ, "CI_REPORTS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests/test_cart.py::test_total PASSED" in done.stdout


@pytest.mark.parametrize("file", SETTINGS)
def test_the_settings_of_a_project_are_taken(tmp_path: Path, file: str) -> None:
    inside = tree(tmp_path, {file: SETTINGS[file], "test_a.py": ""})
    assert NO_SETTINGS not in command_of(PythonProject(inside))
