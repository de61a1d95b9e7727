"""What people write, and what the controller makes of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from ci_common.spec import ExecutionPlan, PlannedStep, Spec, plan_steps

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "python:3.12-slim",
        "library/python",
        "ghcr.io/owner/name:tag",
        "localhost:5000/a/b__c.d-e",
        "Registry.Example:443/x",
        "[::1]:5000/x",
        f"name@{DIGEST}",
        f"host/name:tag@{DIGEST}",
    ],
)
def test_image_references(image: str) -> None:
    assert Spec(image=image).image == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        " busybox",
        "busybox ",
        "busybox\n",
        "Busybox",
        "a//b",
        "a:",
        "a:-x",
        "a@sha256:12",
        "-v",
        "--privileged",
        "a" * 513,
        "a___b",
        "a:b:c",
        "a-" * 250 + "!",
    ],
)
def test_no_image_references(image: str) -> None:
    with pytest.raises(ValidationError, match="not an image reference"):
        Spec(image=image)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "__ci_x", "__ci_"])
def test_variables_a_shell_cannot_export(name: str) -> None:
    with pytest.raises(ValidationError, match="not a variable"):
        Spec(env={name: "x"})


def test_numbers_in_env_are_taken_as_written_and_booleans_are_not() -> None:
    assert Spec.model_validate({"env": {"DEBUG": 1, "RATE": 0.5}}).env == {"DEBUG": "1", "RATE": "0.5"}
    with pytest.raises(ValidationError):
        Spec.model_validate({"env": {"DEBUG": True}})


@pytest.mark.parametrize(
    "data",
    [
        {"command": ""},
        {"command": []},
        {"command": ["", "x"]},
        {"command": "a\0b"},
        {"command": ["a", "\0"]},
        {"env": {"A": "\0"}},
        {"steps": []},
        {"steps": [{"run": ""}]},
        {"steps": [{"run": "x", "name": ""}]},
        {"steps": [{"name": "x"}]},
        {"steps": [{"run": "x"}] * 101},
        {"command": "x", "steps": [{"run": "y"}]},
        {"timeout": 0},
        {"timeout": "soon"},
        {"limits": {"memory": "much"}},
        {"limits": {"log": 0}},
        {"no_output_timeout": 0},
        {"stop_grace": -1},
        {"stop_grace": "2h"},
        {"limits": {"cpus": 0}},
        {"limits": {"disk": 1}},
        {"priority": 1_000_001},
        {"labels": {f"l{n}": "x" for n in range(65)}},
        {"labels": {"a": 1}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_refuses(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Spec.model_validate(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, None),
        ({"command": "make; ls"}, (PlannedStep(name="command", shell="make; ls"),)),
        ({"command": ["a", ""]}, (PlannedStep(name="command", argv=("a", "")),)),
        (
            {"steps": [{"run": "a"}, {"name": "b", "run": "c"}]},
            (
                PlannedStep(name="step 1", shell="a", stop_at_failure=True),
                PlannedStep(name="b", shell="c", stop_at_failure=True),
            ),
        ),
    ],
)
def test_steps(data: dict[str, Any], expected: object) -> None:
    assert plan_steps(Spec.model_validate(data)) == expected


def test_a_plan_survives_storage() -> None:
    spec = Spec.model_validate({"command": ["a", 'ü"\n'], "limits": {"memory": "1g", "cpus": 0.5}, "env": {"A": "b"}})
    steps = plan_steps(spec)
    assert steps is not None
    plan = ExecutionPlan(image="busybox", steps=steps, env=spec.env, timeout=1.5, limits=spec.limits)
    assert ExecutionPlan.model_validate(plan.model_dump(mode="json")) == plan
