"""Whether a job's script can be written and started: the last look at text that came from the project's own files.

What a request and `ci.yaml` say has been checked when they were read; what both say together has not, nor have the
requirements of `setup.py` and `pyproject.toml`.
"""

from collections.abc import Callable, Iterator
from functools import partial

from ci_common.errors import FieldError, InvalidRequest
from ci_common.parsing.text import check_line, check_text
from ci_common.parsing.values import MOST_BYTES, check_argument, check_variable, size_of
from ci_common.spec import ExecutionPlan, PlannedStep, Spec

_LONGEST_SHELL_ARGUMENT = 64 * 1024
"""Bytes from which on shell text is no argument of a shell but part of the job's script."""


def check_plan(plan: ExecutionPlan, spec: Spec) -> None:
    """Raise InvalidRequest where a text of the plan cannot be written down, or Linux could not start one of its steps.

    `spec` is what the plan was made from, whose fields errors name.
    """
    _check("directory", check_text, plan.directory)
    for name, value in plan.env.items():
        _check(f"env.{name}", check_text, value)
        _check(f"env.{name}", partial(check_variable, name), value)
    for number, step in enumerate(plan.steps):
        path = _path_of(step, number, spec)
        _check(path, check_line, step.name)
        if step.shell is not None:
            _check(path, check_text, step.shell)
        for word in step.argv or ():
            _check(path, check_text, word)
            _check(path, check_argument, word)
        size = size_of(_arguments(step), plan.env)
        if size > MOST_BYTES:
            raise _refused(
                path, f"its words and the variables have {size} bytes together; a program can be given {MOST_BYTES}"
            )


def _path_of(step: PlannedStep, number: int, spec: Spec) -> str:
    if spec.command is not None:
        return "command"
    return f"steps.{number}" if spec.steps is not None else f"steps.{step.name}"


def _arguments(step: PlannedStep) -> Iterator[str]:
    yield from step.argv or ()
    if step.shell is not None and len(step.shell) < _LONGEST_SHELL_ARGUMENT:
        yield step.shell


def _check(path: str, check: Callable[[str], object], text: str) -> None:
    try:
        check(text)
    except ValueError as exc:
        raise _refused(path, str(exc)) from exc


def _refused(path: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"the job could not be started: {path}: {message}", FieldError(path, message))
