"""From pydantic's findings to InvalidRequest."""

from typing import Any

import pytest

from ci_common.errors import FieldError, InvalidRequest
from ci_common.spec import Spec
from ci_common.validation import validated


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"limits": {"memory": "much"}}, "limits.memory", "'much' is not a size; write bytes"),
        ({"steps": [{"run": "x"}, {"run": 1}]}, "steps.1.run", "string"),
        ({"imagee": "x"}, "imagee", "unknown field; known are image, command, steps"),
        ({"limits": {"disk": 1}}, "limits.disk", "unknown field"),
        ({"command": "a", "steps": [{"run": "b"}]}, "", "either `command` or `steps`"),
        ([], "", "Spec"),
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
