"""Projects of kinds that once failed, through `ci run`: what is installed suits their tests."""

import os
import subprocess
from pathlib import Path

from tests.e2e.test_real_projects import start_run, verdict_of
from tests.helpers.service import Service, tree

MESON = {
    "pyproject.toml": '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n'
    '[project]\nname = "thing"\nversion = "1.0"\ndependencies = ["zz-private-part"]\n[project.optional-dependencies]\n'
    'test = ["pytest-mock"]\n'
    '[tool.uv.sources]\nzz-private-part = {path = "part"}\n',
    "meson.build": "project('thing', version: '1.0')\npy = import('python').find_installation()\n"
    "py.install_sources('thing/__init__.py', subdir: 'thing')\n"
    "configure_file(input: 'thing/made.py.in', output: 'made.py', configuration: {'A': '42'}, install: true,\n"
    "    install_dir: py.get_install_dir() / 'thing')\n",
    "thing/__init__.py": "from thing.made import A\n",
    "thing/made.py.in": "A = @A@\n",
    "tests/test_thing.py": "import part, thing\n\ndef test(mocker): assert thing.A == 42\n",
    "part/pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "zz-private-part"\n'
    'version = "1"\n[tool.setuptools]\npy-modules = ["part"]\n',
    "part/part.py": "",
}
"""A project in flat layout that its tests build again, and a package that no index has."""
FROM_HISTORY = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools", "setuptools-scm"]\n[project]\nname = "thing"\n'
    'dynamic = ["version"]\n[tool.setuptools]\npy-modules = ["thing"]\n[tool.setuptools_scm]\n',
    ".ciignore": "!.git/\n",
    "requirements.txt": "-e .\n",
    "thing.py": "",
    "test_thing.py": "import importlib.metadata\n\ndef test(): print('this is', importlib.metadata.version('thing'))\n",
    "pytest.ini": "[pytest]\naddopts = -s\n",
}


def test_a_project_that_its_tests_build_again(service: Service, environment: dict[str, str], tmp_path: Path) -> None:
    status, log, _ = verdict_of(service, start_run(service, environment, tree(tmp_path / "thing", MESON)))
    assert status == 0, log
    assert "1 passed" in log


def test_a_version_from_a_history_that_was_sent_along(
    service: Service, environment: dict[str, str], tmp_path: Path, runtime: str
) -> None:
    project = tree(tmp_path / "thing", FROM_HISTORY)
    identity = {f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"], ["tag", "v3.2.1"]):
        subprocess.run(["git", *command], cwd=project, check=True, env={**os.environ, **identity})
    status, log, _ = verdict_of(service, start_run(service, environment, project))
    assert status == 0, log
    if runtime == "docker":
        assert "ci: this image has no git" in log
        assert "this is 0.0.0" in log
    else:
        assert "this is 3.2.1" in log
