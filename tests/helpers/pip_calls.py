"""What is handed to pip for a project."""

import shlex
from pathlib import Path

from ci_server.detection.python.steps import python_steps
from tests.helpers.service import tree

BUILT = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "thing"\n'


def pip_calls(directory: Path, files: dict[str, str]) -> list[list[str]]:
    """Return the arguments of each `pip install` for a project of these files."""
    text = python_steps(tree(directory, files))[0].shell or ""
    calls = [shlex.split(part) for part in text.split(" && ")]
    assert all(call[:4] == ["python", "-m", "pip", "install"] for call in calls)
    return [call[4:] for call in calls]
