"""The setup of `ci.yaml` and requests becomes the first step of the plan, with the digest of its inputs."""

from pathlib import Path
from typing import Any

import pytest

from ci_common.environments import PlannedSetup
from ci_common.errors import InvalidRequest, RequestError
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_server.detection.projects import resolve, resolve_command
from tests.helpers.service import tree

SETTINGS = Settings()
CI_YAML = """
setup:
  run: make deps
  inputs: [deps.txt, "deps/**"]
steps: [make test]
"""
FILES = {"ci.yaml": CI_YAML, "deps.txt": "a", "deps/b/c.txt": "c", "src/main.c": "int"}


def plan_of(directory: Path, request: dict[str, Any] | None = None) -> ExecutionPlan:
    return resolve(directory, Spec.model_validate(request or {}), SETTINGS).plan


def setup_of(directory: Path, request: dict[str, Any] | None = None) -> PlannedSetup:
    setup = plan_of(directory, request).setup
    assert setup is not None
    return setup


def test_the_setup_is_the_first_step(tmp_path: Path) -> None:
    tree(tmp_path, FILES)
    plan = plan_of(tmp_path)
    assert [(step.name, step.shell) for step in plan.steps] == [("setup", "make deps"), ("step 1", "make test")]
    assert plan.setup_text == "make deps"
    assert setup_of(tmp_path).inputs == ("deps.txt", "deps/b/c.txt")


def test_a_setup_may_be_its_text_alone(tmp_path: Path) -> None:
    tree(tmp_path, {"ci.yaml": "setup: make deps\ncommand: make"})
    assert setup_of(tmp_path) == PlannedSetup(steps=1, digest=setup_of(tmp_path).digest)


@pytest.mark.parametrize(
    ("name", "content", "changes"),
    [("deps.txt", "b", True), ("deps/d.txt", "", True), ("src/main.c", "float", False)],
    ids=["content", "another file", "no input"],
)
def test_the_digest_is_that_of_the_inputs(tmp_path: Path, name: str, content: str, changes: bool) -> None:
    tree(tmp_path, FILES)
    before = setup_of(tmp_path).digest
    (tmp_path / name).write_text(content)
    assert (setup_of(tmp_path).digest != before) is changes


def test_the_mode_of_an_input_counts(tmp_path: Path) -> None:
    tree(tmp_path, FILES)
    before = setup_of(tmp_path).digest
    (tmp_path / "deps.txt").chmod(0o755)
    assert setup_of(tmp_path).digest != before


def test_a_request_with_other_steps_keeps_the_setup_of_the_file(tmp_path: Path) -> None:
    tree(tmp_path, FILES)
    assert [step.name for step in plan_of(tmp_path, {"command": "make"}).steps] == ["setup", "command"]


def test_a_fresh_job(tmp_path: Path) -> None:
    tree(tmp_path, FILES)
    assert not setup_of(tmp_path).fresh
    assert setup_of(tmp_path, {"fresh": True}).fresh


@pytest.mark.parametrize(
    ("setup", "path"),
    [
        ({"run": "x", "inputs": ["missing.txt"]}, "setup.inputs.0"),
        ({"run": "x\0"}, "setup.run"),
        ({"run": ""}, "setup.run"),
        ({"run": "x", "inputs": ["../x"]}, "setup.inputs.0"),
        ({"run": "x", "inputs": ["/etc/passwd"]}, "setup.inputs.0"),
        ({"run": "x", "inputs": ["**/a/**"]}, "setup.inputs.0"),
        ({"run": "x", "inputs": ["a**"]}, "setup.inputs.0"),
        ({"run": "x", "inputs": [""]}, "setup.inputs.0"),
        ({"inputs": ["deps.txt"]}, "setup.run"),
        ({"run": "x", "input": ["deps.txt"]}, "setup.input"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, setup: dict[str, Any], path: str) -> None:
    tree(tmp_path, FILES)
    with pytest.raises((RequestError, ValueError)) as caught:
        resolve(tmp_path, Spec.model_validate({"setup": setup}), SETTINGS)
    if isinstance(caught.value, RequestError):
        assert [error.path for error in caught.value.errors] == [path]
    else:
        assert path.replace("setup.", "") in str(caught.value)


def test_a_link_out_of_the_project_is_no_input(tmp_path: Path) -> None:
    project = tmp_path / "project"
    tree(project, FILES)
    (tmp_path / "outside.txt").write_text("x")
    (project / "deps" / "link.txt").symlink_to(tmp_path / "outside.txt")
    assert setup_of(project).inputs == ("deps.txt", "deps/b/c.txt")


def test_without_an_upload_there_are_no_inputs() -> None:
    spec = {"command": "make", "setup": {"run": "x", "inputs": ["a"]}}
    with pytest.raises(InvalidRequest) as caught:
        resolve_command(Spec.model_validate(spec), SETTINGS)
    assert [error.path for error in caught.value.errors] == ["setup.inputs"]
    without = resolve_command(Spec.model_validate(spec | {"setup": "apt-get install make"}), SETTINGS)
    assert [step.name for step in without.plan.steps] == ["setup", "command"]
