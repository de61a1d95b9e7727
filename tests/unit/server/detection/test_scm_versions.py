"""Versions that a build takes from version control, where there is none."""

import shlex
import subprocess
from pathlib import Path

import pytest

from ci_server.detection.python.steps import python_environment, python_steps
from tests.helpers.service import tree

SCM = '[build-system]\nrequires = ["{}"]\n[project]\nname = "thing"\ndynamic = ["version"]\n'
HISTORY = {".git/HEAD": "ref: refs/heads/main\n"}


def run_install(directory: Path, programs: Path, **environment: str) -> tuple[int, str]:
    """Run the install step with no programs but those in a folder, and return its status and output."""
    step = python_steps(directory)[0].shell or ""
    done = subprocess.run(
        ["/bin/sh", "-ec", step],
        env={"PATH": str(programs), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a `python` that shows the version that the build is told."""
    folder = tree(tmp_path / "programs", {"python": "#!/bin/sh\necho version=$SETUPTOOLS_SCM_PRETEND_VERSION\n"})
    (folder / "python").chmod(0o755)
    return folder


def project(tmp_path: Path, tool: str, files: dict[str, str]) -> Path:
    return tree(tmp_path / "project", {"pyproject.toml": SCM.format(tool), **files})


@pytest.mark.parametrize("tool", ["setuptools-scm>=8", "hatch-vcs", "flit_scm"])
def test_an_image_without_git(tmp_path: Path, programs: Path, tool: str) -> None:
    code, said = run_install(project(tmp_path, tool, HISTORY), programs)
    first, second = said.splitlines()
    assert code == 0
    assert first.startswith("ci: this image has no git")
    assert "0.0.0" in first
    assert "SETUPTOOLS_SCM_PRETEND_VERSION" in first
    assert second == "version=0.0.0"


def test_a_version_of_the_users_own_stays(tmp_path: Path, programs: Path) -> None:
    directory = project(tmp_path, "setuptools-scm", HISTORY)
    assert run_install(directory, programs, SETUPTOOLS_SCM_PRETEND_VERSION="7") == (0, "version=7\n")


def test_an_image_with_git(tmp_path: Path, programs: Path) -> None:
    (programs / "git").symlink_to("/bin/true")
    assert run_install(project(tmp_path, "setuptools-scm", HISTORY), programs) == (0, "version=\n")


def test_a_tool_that_takes_no_version_from_a_variable(tmp_path: Path, programs: Path) -> None:
    code, said = run_install(project(tmp_path, "versioningit", HISTORY), programs)
    assert code == 0
    assert said.startswith("ci: this image has no git, which versioningit")
    code, said = run_install(tree(tmp_path / "other", {"pyproject.toml": SCM.format("versioningit")}), programs)
    assert "write !.git/ into .ciignore" in said


@pytest.mark.parametrize(
    ("files", "pretended"),
    [
        ({}, True),
        ({".git": "gitdir: /home/x/repository/.git/worktrees/y\n"}, True),
        ({".git_archival.txt": "describe-name: $Format:%(describe:tags=true)$\n"}, True),
        ({".git_archival.txt": "describe-name: v1.2.3\n"}, False),
        ({".hg_archival.txt": "latesttag: 1.2\n"}, False),
        ({"PKG-INFO": "Version: 1\n"}, False),
        (HISTORY, False),
        ({".hg/store/x": ""}, False),
    ],
)
def test_where_a_version_is_pretended(tmp_path: Path, files: dict[str, str], pretended: bool) -> None:
    directory = project(tmp_path, "setuptools_scm[toml]", files)
    assert ("SETUPTOOLS_SCM_PRETEND_VERSION" in python_environment(directory)) == pretended


def test_a_provider_of_scikit_build_core(tmp_path: Path) -> None:
    more = '[tool.scikit-build]\nmetadata.version.provider = "scikit_build_core.metadata.setuptools_scm"\n'
    directory = tree(tmp_path, {"pyproject.toml": SCM.format("scikit-build-core") + more})
    assert python_environment(directory)["SETUPTOOLS_SCM_PRETEND_VERSION"] == "0.0.0"


def test_nothing_is_said_without_need(tmp_path: Path) -> None:
    step = python_steps(project(tmp_path, "setuptools", HISTORY))[0].shell or ""
    assert shlex.split(step)[:4] == ["python", "-m", "pip", "install"]
