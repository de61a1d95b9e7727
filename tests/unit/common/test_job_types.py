"""The registry of job types."""

import json

import pytest

from ci_common.job_types import (
    ECHO,
    JOB_TYPES,
    EchoPayload,
    JobType,
    Workload,
    is_computed,
    register,
    result_of,
    seconds_of,
)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'echo' is registered already"):
        register(ECHO)


def test_what_runs_a_workload_takes_a_spec() -> None:
    with pytest.raises(TypeError, match="has to be a Spec"):
        JobType("of steps", "Runs steps.", payload=EchoPayload, carried_out_by=Workload())


@pytest.mark.parametrize(
    ("name", "computed"), [("container", False), ("echo", True), ("sleep", True), ("other", False)]
)
def test_which_are_computed(name: str, computed: bool) -> None:
    assert is_computed(name) is computed


@pytest.mark.parametrize(
    ("name", "payload", "seconds", "result"),
    [("echo", {"a": [1, None]}, 0.0, {"a": [1, None]}), ("sleep", {"ms": "1500"}, 1.5, "ok")],
)
def test_what_is_computed(name: str, payload: dict[str, object], seconds: float, result: object) -> None:
    assert seconds_of(name, payload) == seconds
    assert json.loads(result_of(name, payload)) == result


def test_every_type_says_what_it_is() -> None:
    assert all(kind.summary.endswith(".") and name == kind.name for name, kind in JOB_TYPES.items())
