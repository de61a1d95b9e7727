"""Git in a workspace that belongs to another user, as in a container whose user is not the server's."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_common.run_directory.layout import RunDirectory
from tests.helpers.scripts import ENVIRONMENT, SHELLS, ScriptRun, as_sh, plan_of, shell_steps

OTHER = 65534
pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user"),
]


@pytest.fixture(params=SHELLS, ids=lambda path: path.name)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return as_sh(request.param, tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Mapping[str, str]:
    """The variables of a job without settings of Git's of its own."""
    return {**ENVIRONMENT, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}


def run_in_repository(shell: Path, folder: Path, environment: Mapping[str, str], step: str, owner: int) -> bytes:
    """Return the log of a job whose workspace is a repository, with another in it, that belong to `owner`."""
    one = ScriptRun(RunDirectory(folder / "run"), shell, plan_of(*shell_steps(step)), environment)
    one.prepare()
    for repository in (one.run.workspace, one.run.workspace / "inner"):
        subprocess.run(["git", "init", "-q", repository], check=True, env=dict(ENVIRONMENT))
    for path in (one.run.workspace, *one.run.workspace.rglob("*")):
        os.chown(path, owner, owner)
    try:
        one.to_gate()
        one.through_gate()
        one.end()
    finally:
        one.kill()
    return one.log()


def test_git_takes_a_workspace_of_another_user(shell: Path, tmp_path: Path, home: Mapping[str, str]) -> None:
    log = run_in_repository(shell, tmp_path, home, "git rev-parse --is-inside-work-tree", OTHER)
    assert log == b"true\n"


def test_settings_of_the_users_own_stay(shell: Path, tmp_path: Path, home: Mapping[str, str]) -> None:
    own = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Ada"}
    log = run_in_repository(shell, tmp_path, home | own, "git config user.name; git rev-parse --git-dir", OTHER)
    assert log == b"Ada\n.git\n"


@pytest.mark.parametrize("count", ["1x", "08", "-1", "100000000000000000000"])
def test_a_count_that_is_none_is_left_to_git(shell: Path, tmp_path: Path, home: Mapping[str, str], count: str) -> None:
    log = run_in_repository(shell, tmp_path, home | {"GIT_CONFIG_COUNT": count}, 'echo "$GIT_CONFIG_COUNT"', OTHER)
    assert log == f"{count}\n".encode()


def test_nothing_is_set_without_need(shell: Path, tmp_path: Path, home: Mapping[str, str]) -> None:
    log = run_in_repository(shell, tmp_path, home, 'echo "${GIT_CONFIG_COUNT-none}"', 0)
    assert log == b"none\n"
