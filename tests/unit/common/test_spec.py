"""What people write, and what the controller makes of it."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ci_common.errors import InvalidRequest
from ci_common.parsing.models import validated
from ci_common.parsing.values import Plain
from ci_common.spec import ExecutionPlan, PlannedStep, Spec
from ci_server.detection.projects import plan_steps

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


WRITTEN = [
    *("3.10", "010", "0o17", "0x1F", "0b11", "1_000", "+5", "-0", "1e3", "1.0", ".5", "5.", "1:30", "2025-01-31"),
    *("2025-01-31T09:30:00Z", "yes", "off", "true", "False", "null", "~", ".inf", ".nan", "9" * 100, ""),
]


@pytest.mark.parametrize("text", WRITTEN)
def test_text_is_what_was_written(text: str) -> None:
    plain = Plain(text)
    assert Spec.model_validate({"env": {"A": plain}}).env == {"A": text}
    assert Spec.model_validate({"labels": {plain: plain}}).labels == {text: text}
    assert Spec.model_validate({"command": ["echo", plain]}).command == ["echo", text]
    if not plain.is_null:
        assert Spec.model_validate({"command": plain}).command == text
        assert Spec.model_validate({"project": plain}).project == text
    if text:
        (step,) = Spec.model_validate({"steps": [{"run": plain, "name": Plain("1.10")}]}).steps or []
        assert (step.run, step.name) == (text, "1.10")


@pytest.mark.parametrize("name", Spec.model_fields)
def test_a_field_that_is_left_empty_is_left_out(name: str) -> None:
    for text in ("", "~", "null"):
        assert Spec.model_validate({name: Plain(text)}).model_fields_set == set()


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
        {"steps": [""]},
        {"steps": ["a\0b"]},
        {"steps": [["a"]]},
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
        {"command": [1]},
        {"command": 1},
        {"command": "a" * 10, "env": {"A": "x" * 131_070}},
        {"command": ["a", "x" * 131_072]},
        {"env": {"A": 10**400}},
        {"priority": True},
        {"retry": {"max_attempts": True}},
        {"limits": {"cpus": True, "pids": 5}},
        {"limits": {"pids": 2**63}},
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
            {"steps": [{"run": "a"}, {"name": "b", "run": "c"}, "d"]},
            (
                PlannedStep(name="step 1", shell="a", stop_at_failure=True),
                PlannedStep(name="b", shell="c", stop_at_failure=True),
                PlannedStep(name="step 3", shell="d", stop_at_failure=True),
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


BAD_TEXT = ["\ud800", "\udfff", "a\0", "\x1b[31m", "\x7f", "\x9b", "\r"]
TEXT_FIELDS: list[tuple[str, Any]] = [
    ("command", lambda text: {"command": text}),
    ("command.1", lambda text: {"command": ["a", text]}),
    ("steps.1.run", lambda text: {"steps": [{"run": "a"}, {"run": text}]}),
    ("steps.0.name", lambda text: {"steps": [{"run": "a", "name": text}]}),
    ("env.A", lambda text: {"env": {"A": text}}),
    ("env", lambda text: {"env": {text: "a"}}),
    ("project", lambda text: {"project": text}),
    ("labels.a", lambda text: {"labels": {"a": text}}),
    ("image", lambda text: {"image": text}),
]


@pytest.mark.parametrize(("path", "data"), TEXT_FIELDS, ids=[path for path, _ in TEXT_FIELDS])
def test_text_that_cannot_be_carried_is_refused_with_its_path(path: str, data: Callable[[str], dict[str, Any]]) -> None:
    for text in BAD_TEXT:
        with pytest.raises(InvalidRequest) as caught:
            validated(Spec, data(text), source="the body")
        assert [error.path for error in caught.value.errors] == [path]
    for lines in ("a\nb", "a\tb"):
        if path in ("command", "command.1", "steps.1.run", "env.A"):
            assert validated(Spec, data(lines), source="the body")
        else:
            with pytest.raises(InvalidRequest):
                validated(Spec, data(lines), source="the body")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Spec.model_fields, "x"]), inner),
        max_leaves=10,
    ).filter(lambda data: isinstance(data, dict))
)
@settings(deadline=None)
def test_errors_name_paths_of_the_document(data: dict[str, Any]) -> None:
    with suppress(ValidationError):
        Spec.model_validate(data)
        return
    with pytest.raises(InvalidRequest) as caught:
        validated(Spec, data, source="the body")
    assert all(re.fullmatch(r"[\w.]*", error.path) for error in caught.value.errors)
    assert 0 < len(caught.value.errors) <= 20
