"""From pydantic's findings to InvalidRequest."""

import time
from typing import Any

import pytest

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.models import StrictModel, validated
from ci_common.spec import Spec


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"limits": {"memory": "much"}}, "limits.memory", "'much' is not a size; write bytes"),
        ({"steps": [{"run": "x"}, {"run": 1}]}, "steps.1.run", "it is not text"),
        ({"colour": "x"}, "colour", "unknown field; known are image, command, steps"),
        ({"limits": {"disk": 1}}, "limits.disk", "unknown field"),
        ({"command": "a", "steps": [{"run": "b"}]}, "", "either `command` or `steps`"),
        ([], "", "it is not an object with names and values"),
        ({"limits": []}, "limits", "it is not an object with names and values"),
        ({"env": []}, "env", "it is not an object with names and values"),
        ({"steps": {}}, "steps", "it is not a list"),
        ({"steps": []}, "steps", "it is empty"),
        ({"steps": [{}]}, "steps.0.run", "it is missing"),
        ({"project": ""}, "project", "it is empty"),
        ({"project": []}, "project", "it is not text"),
        ({"network": "perhaps"}, "network", "it is not a boolean; write true or false"),
    ],
)
def test_names_the_field_and_what_would_be_right(data: Any, path: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validated(Spec, data, source="ci.yaml")
    (error,) = caught.value.errors
    assert error.path == path
    assert message in error.message
    assert not error.message.startswith("Value error")
    assert str(caught.value).startswith("ci.yaml is not valid: ")
    assert error.message in str(caught.value)


def test_names_every_field_at_fault() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validated(Spec, {"timeout": -1, "priority": "high"}, source="spec")
    assert [error.path for error in caught.value.errors] == ["timeout", "priority"]
    assert all(isinstance(error, FieldError) for error in caught.value.errors)


def test_returns_the_model() -> None:
    assert validated(Spec, {"timeout": "1m"}, source="spec").timeout == 60


def test_only_the_first_errors_are_named() -> None:
    data = {"steps": [{"run": "x", "colour": "red"}] * 50}
    with pytest.raises(InvalidRequest, match=r"; and 30 more$") as caught:
        validated(Spec, data, source="spec")
    assert [error.path for error in caught.value.errors] == [f"steps.{number}.colour" for number in range(20)]


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({f"field{number}": 1 for number in range(10_000)}, ""),
        ({"env": {f"V{number}": [] for number in range(10_000)}}, "env.V0"),
        ({"labels": {f"l{number}": 1 for number in range(10_000)}}, "labels"),
        ({"command": [1] * 10_000}, "command.0"),
        ({"retry": {"on": [1] * 10_000}}, "retry.on.0"),
        ({"steps": [1] * 10_000}, "steps"),
        ({"x" * 1_000_000: 1}, "x" * 100 + "…"),
        ({"env": {"x" * 1_000_000: []}}, "env." + "x" * 100 + "…"),
        ({"image": "x" * 1_000_000}, "image"),
        ({"timeout": "x" * 1_000_000}, "timeout"),
        ({"steps": [{"run": "x", "name": "x" * 1_000_000}]}, "steps.0.name"),
        ({"labels": {"a\x1b[31mb": 1}}, "labels.a\\x1b[31mb"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_errors_are_short_however_large_the_input(data: Any, path: str) -> None:
    begun = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        validated(Spec, data, source="spec")
    assert time.thread_time() - begun < 0.1
    assert caught.value.errors[0].path == path
    assert len(str(caught.value)) < 4096
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"step": []}, r"step: unknown field; did you mean steps\?$"),
        (
            {"steps": [{"run": "x", "iff": "always"}]},
            r"steps.0.iff: unknown field; did you mean if\?$",
        ),
        ({"limits": {"Memory": 1}}, r"limits.Memory: unknown field; did you mean memory\?"),
        ({"services": {"limits": {"image": "x", "comand": "y"}}}, r"services.limits.comand: .*did you mean command\?"),
        ({"setup": {"run": "x", "input": []}}, r"setup.input: unknown field; did you mean inputs\?"),
        ({"cache": [{"path": "a", "key": "b", "whn": 1}]}, r"cache.0.whn: unknown field; did you mean when\?"),
        (
            {"steps": [{"run": "x", "if": "sucess"}]},
            r"steps.0.if: 'sucess' is not one of 'success', 'failure' or 'always'",
        ),
    ],
    ids=str,
)
def test_a_misspelt_name_is_met_with_the_right_one(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        validated(Spec, data, source="spec")


def test_a_model_without_fields_names_none() -> None:
    class Nothing(StrictModel):
        pass

    with pytest.raises(InvalidRequest, match=r"x: unknown field$"):
        validated(Nothing, {"x": 1}, source="the query")
