"""From an unpacked project and a request to the plan of its job."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ci_common.errors import FieldError, InvalidRequest, UnrecognisedProject
from ci_common.parsing.models import validated
from ci_common.parsing.text import check_line, check_text
from ci_common.parsing.values import MOST_BYTES, check_argument, check_variable, size_of
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep, Spec, plan_steps
from ci_server.detection.ci_yaml import NAME, read_ci_yaml
from ci_server.detection.python.steps import looks_like_python, python_environment, python_steps

_JUNK = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})
"""Files and folders that archivers add beside a project."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A resolved request: `spec` has the fields for the job's own columns, `plan` is for the controller."""

    spec: Spec
    plan: ExecutionPlan


def resolve(workspace: Path, requested: Spec, settings: Settings) -> Resolved:
    """Return how to run the project in `workspace`. The request wins over its `ci.yaml`, which wins over the defaults.

    Raises UnrecognisedProject if nothing says what to run, and InvalidRequest if a file of the project is not valid.
    """
    directory = find_project(workspace)
    spec = merged(requested, read_ci_yaml(directory, root=workspace) or Spec())
    steps = plan_steps(spec)
    environment: dict[str, str] = {}
    recognised = steps is None and looks_like_python(directory)
    if recognised:
        steps = python_steps(directory)
        environment = python_environment(directory)
    if steps is None:
        raise UnrecognisedProject(
            f"neither the request nor {NAME} at the project's root names a command or steps, and it is not a "
            "Python project: it has no pyproject.toml, setup.py, setup.cfg, requirements.txt, Pipfile, pytest.toml, "
            "pytest.ini, tox.ini, tox.toml, conftest.py, test_*.py or tests/*.py"
        )
    return Resolved(spec, _plan(spec, steps, settings, environment, str(directory.relative_to(workspace)), recognised))


def resolve_command(spec: Spec, settings: Settings) -> Resolved:
    """Return how to run a job without a project. Raises InvalidRequest if it has no command and no steps."""
    steps = plan_steps(spec)
    if steps is None:
        message = "give a command or steps; without an upload there is nothing else to run"
        raise InvalidRequest(f"the request is not valid: command: {message}", FieldError("command", message))
    return Resolved(spec, _plan(spec, steps, settings, {}, ".", False))


def find_project(workspace: Path) -> Path:
    """Return the project's directory: the root, or the only folder in it if that is a project and the root is not."""
    entries = [path for path in workspace.iterdir() if path.name not in _JUNK]
    if not _is_project(workspace) and len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0] if _is_project(entries[0]) else workspace
    return workspace


def merged(requested: Spec, file: Spec) -> Spec:
    """Return both in one; `requested` wins. Variables, labels and fields of `limits` and `retry` are merged one by one.

    Raises InvalidRequest if both together exceed the limits of a spec.
    """
    fields = {name: value for name, value in file if value is not None}
    wanted = {name: value for name, value in requested if value is not None}
    if plan_steps(requested) is not None:
        fields |= {"command": None, "steps": None}
    limits = file.limits.model_dump(exclude_none=True) | requested.limits.model_dump(exclude_none=True)
    retry = file.retry.model_dump(exclude_unset=True) | requested.retry.model_dump(exclude_unset=True)
    combined = {
        "env": file.env | requested.env,
        "labels": file.labels | requested.labels,
        "limits": limits,
        "retry": retry,
    }
    return validated(Spec, fields | wanted | combined, source=f"the request together with {NAME}")


def _is_project(directory: Path) -> bool:
    return (directory / NAME).exists() or looks_like_python(directory)


def _plan(
    spec: Spec,
    steps: tuple[PlannedStep, ...],
    settings: Settings,
    environment: dict[str, str],
    directory: str,
    python: bool,
) -> ExecutionPlan:
    longest = settings.max_log_bytes
    if spec.limits.log is not None and spec.limits.log > longest:
        message = f"{spec.limits.log} bytes are more than CI_MAX_LOG_BYTES allows here; ask for at most {longest}"
        raise InvalidRequest(f"the request is not valid: limits.log: {message}", FieldError("limits.log", message))
    plan = ExecutionPlan(
        image=spec.image or settings.default_image,
        steps=steps,
        env=environment | spec.env,
        directory=directory,
        timeout=spec.timeout or settings.default_timeout,
        no_output_timeout=spec.no_output_timeout or settings.default_no_output_timeout,
        stop_grace=spec.stop_grace,
        limits=spec.limits.model_copy(update={"log": spec.limits.log or longest}),
        retry=spec.retry,
        network=True if spec.network is None else spec.network,
        python_environment=python,
    )
    check_plan(plan, spec)
    return plan


_LONGEST_SHELL_ARGUMENT = 64 * 1024
"""Shell text of at least so many bytes becomes part of the job's script instead of an argument of a shell."""


def check_plan(plan: ExecutionPlan, spec: Spec) -> None:
    """Raise InvalidRequest if a text of the plan cannot be written to the script, or Linux could not start a step.

    Request and `ci.yaml` were checked one by one when they were read. Their combination was not, nor were requirements
    from the project's files. Errors name the fields of `spec`, from which the plan was made.
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
                path, f"its words and the variables have {size} bytes together; at most {MOST_BYTES} are allowed"
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
