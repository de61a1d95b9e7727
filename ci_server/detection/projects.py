"""From an unpacked project and a request to the plan of its job."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from ci_common.environments import PlannedSetup
from ci_common.errors import FieldError, InvalidRequest, UnrecognisedProject
from ci_common.parsing.models import validated
from ci_common.parsing.text import check_line, check_text, shown
from ci_common.parsing.values import MOST_BYTES, check_argument, check_variable, size_of
from ci_common.run_directory.inputs import digest_of, find_inputs
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, PlannedStep, Spec
from ci_common.spec_parts.artifacts import planned_artifacts
from ci_common.spec_parts.reports import PlannedReports
from ci_common.spec_parts.secrets import PlannedSecret
from ci_server.detection.caches import planned_caches
from ci_server.detection.choice import detect, looks_like_project
from ci_server.detection.ci_yaml import NAME, read_ci_yaml
from ci_server.detection.detected import SETUP, Detected
from ci_server.detection.downloads import with_downloads
from ci_server.detection.python.installer import Installer, with_installer
from ci_server.detection.python.steps import QUIET_PIP

_JUNK = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})
"""Files and folders that archivers add beside a project."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A resolved request: `spec` has the fields for the job's own columns, `plan` is for the controller."""

    spec: Spec
    plan: ExecutionPlan


@dataclass(frozen=True, slots=True)
class ProjectDefaults:
    """The defaults that projects give to their jobs."""

    specs: Mapping[str, Spec] = field(default_factory=dict)
    """By the name of the project."""
    otherwise: str | None = None
    """The project of a job that names none."""

    def below(self, spec: Spec) -> Spec:
        """Return the spec with the defaults of its project. Raises InvalidRequest if they do not go together."""
        project = spec.project or self.otherwise
        defaults = None if project is None else self.specs.get(project)
        if defaults is None:
            return spec
        return merged(spec, defaults, source=f"the request together with the defaults of the project {shown(project)}")


NO_DEFAULTS: Final = ProjectDefaults()


def resolve(workspace: Path, requested: Spec, settings: Settings, defaults: ProjectDefaults = NO_DEFAULTS) -> Resolved:
    """Return how to run the project in `workspace`.

    The request wins over its `ci.yaml`, which wins over the defaults of its project, and these over the settings.

    Raises UnrecognisedProject if nothing says what to run, and InvalidRequest if a file of the project is not valid.
    """
    directory = find_project(workspace)
    spec = defaults.below(merged(requested, read_ci_yaml(directory, root=workspace) or Spec()))
    installer = _installer(spec, settings)
    steps = plan_steps(spec, installer)
    detected: Detected | None = None
    if steps is None:
        prepared = spec.setup is None and settings.prepared_bytes > 0
        detected = detect(directory, prepared=prepared, installer=installer)
        if detected is None:
            raise UnrecognisedProject(
                f"neither the request nor {NAME} at the project's root names a command or steps, and no project is "
                "detected there: no Python project (pyproject.toml, setup.py, setup.cfg, requirements.txt, Pipfile, "
                "pytest.toml, pytest.ini, tox.ini, tox.toml, conftest.py, test_*.py or tests/*.py), no package.json "
                "with a test script, no go.mod or go.work and no Cargo.toml"
            )
        steps = detected.steps
    plan = _plan(spec, steps, settings, detected, str(directory.relative_to(workspace)))
    if spec.setup is not None:
        inputs = find_inputs(directory, spec.setup.inputs, root=workspace)
        plan = _with_setup(plan, spec, inputs, digest_of(directory, inputs), installer)
    elif detected is not None and detected.setup:
        digest = digest_of(directory, detected.inputs)
        setup = PlannedSetup(
            steps=detected.setup,
            inputs=detected.inputs,
            digest=digest,
            pinned=detected.is_pinned,
            fresh=bool(spec.fresh),
        )
        plan = plan.model_copy(update={"setup": setup})
    if spec.cache:
        caches = planned_caches(spec.cache, image=plan.image, directory=directory, root=workspace)
        plan = plan.model_copy(update={"caches": caches})
    check_plan(plan, spec)
    return Resolved(spec, plan)


def _installer(spec: Spec, settings: Settings) -> Installer:
    """Return which installer may be used: pip alone if the job has variables that are meant for pip."""
    if spec.installer in ("uv", "pip"):
        return spec.installer
    meant = any(name.startswith("PIP_") and name not in QUIET_PIP for name in spec.env)
    return "pip" if meant else settings.installer


def resolve_command(spec: Spec, settings: Settings, defaults: ProjectDefaults = NO_DEFAULTS) -> Resolved:
    """Return how to run a job without files. Raises InvalidRequest if it has no command and no steps."""
    spec = defaults.below(spec)
    installer = _installer(spec, settings)
    steps = plan_steps(spec, installer)
    if steps is None:
        message = "give a command or steps; without an upload there is nothing else to run"
        raise InvalidRequest(f"the request is not valid: command: {message}", FieldError("command", message))
    plan = _plan(spec, steps, settings, None, ".")
    if spec.setup is not None:
        if spec.setup.inputs:
            message = "without an upload there are no files; leave the inputs out"
            raise InvalidRequest(
                f"the request is not valid: setup.inputs: {message}", FieldError("setup.inputs", message)
            )
        plan = _with_setup(plan, spec, (), digest_of(Path(), ()), installer)
    if spec.cache:
        caches = planned_caches(spec.cache, image=plan.image, directory=None, root=Path())
        plan = plan.model_copy(update={"caches": caches})
    check_plan(plan, spec)
    return Resolved(spec, plan)


def _with_setup(
    plan: ExecutionPlan, spec: Spec, inputs: tuple[str, ...], digest: str, installer: Installer
) -> ExecutionPlan:
    """Return the plan with the setup of `spec` as its first step."""
    assert spec.setup is not None, "the caller has checked that there is one"
    shell = with_downloads(_shell(spec, spec.setup.run, installer))
    step = PlannedStep(name=SETUP, shell=shell, stop_at_failure=True)
    setup = PlannedSetup(steps=1, inputs=inputs, digest=digest, pinned=spec.setup.pinned, fresh=bool(spec.fresh))
    return plan.model_copy(update={"steps": (step, *plan.steps), "setup": setup})


def _shell(spec: Spec, text: str, installer: Installer) -> str:
    return text if spec.installer is None else with_installer(text, installer)


def plan_steps(spec: Spec, installer: Installer = "auto") -> tuple[PlannedStep, ...] | None:
    """Return the steps in `command` or `steps`, or None if `spec` has neither."""
    if spec.command is not None:
        if isinstance(spec.command, str):
            return (PlannedStep(name="command", shell=spec.command),)
        return (PlannedStep(name="command", argv=tuple(spec.command)),)
    if spec.steps is None:
        return None
    return tuple(
        PlannedStep(
            name=step.name or f"step {number}",
            shell=_shell(spec, step.run, installer),
            stop_at_failure=True,
            condition=step.condition,
            continue_on_error=step.continue_on_error,
            timeout=step.timeout,
            directory=step.working_directory,
            env=step.env,
        )
        for number, step in enumerate(spec.steps, start=1)
    )


def find_project(workspace: Path) -> Path:
    """Return the project's directory: the root, or the only folder in it if that is a project and the root is not."""
    entries = [path for path in workspace.iterdir() if path.name not in _JUNK]
    if not _is_project(workspace) and len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0] if _is_project(entries[0]) else workspace
    return workspace


def merged(requested: Spec, file: Spec, *, source: str = f"the request together with {NAME}") -> Spec:
    """Return both in one; `requested` wins.

    Variables, labels, secrets, services and fields of `limits` and `retry` are merged one by one. What either says is
    not trusted is not.

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
        "secrets": file.secrets | requested.secrets,
        "services": file.services | requested.services,
        "untrusted": requested.untrusted or file.untrusted,
    }
    return validated(Spec, fields | wanted | combined, source=source)


def _is_project(directory: Path) -> bool:
    return (directory / NAME).exists() or looks_like_project(directory)


def _plan(
    spec: Spec,
    steps: tuple[PlannedStep, ...],
    settings: Settings,
    detected: Detected | None,
    directory: str,
) -> ExecutionPlan:
    longest = settings.max_log_bytes
    if spec.limits.log is not None and spec.limits.log > longest:
        message = f"{spec.limits.log} bytes are more than CI_MAX_LOG_BYTES allows here; ask for at most {longest}"
        raise InvalidRequest(f"the request is not valid: limits.log: {message}", FieldError("limits.log", message))
    detected = detected or Detected(steps)
    return ExecutionPlan(
        image=spec.image or detected.image or settings.default_image,
        steps=steps,
        env=detected.env | spec.env,
        directory=directory,
        timeout=spec.timeout or settings.default_timeout,
        no_output_timeout=spec.no_output_timeout or settings.default_no_output_timeout,
        stop_grace=spec.stop_grace,
        limits=spec.limits.model_copy(update={"log": spec.limits.log or longest}),
        retry=spec.retry,
        network=True if spec.network is None else spec.network,
        secrets=_planned_secrets(spec),
        untrusted=bool(spec.untrusted),
        services=spec.services,
        reports=None if spec.reports is None else PlannedReports(**dict(spec.reports)),
        artifacts=planned_artifacts(spec.artifacts or []),
        python_environment=detected.is_python or spec.installer is not None,
    )


def _planned_secrets(spec: Spec) -> tuple[PlannedSecret, ...]:
    """Return what the job is to be given. Whose secrets these are is decided when it is known whose the job is."""
    for name, use in spec.secrets.items():
        if use.file is None and (use.env or name) in spec.env:
            raise _refused(f"secrets.{name}", f"`env` has a variable {use.env or name}, too; name it once")
    return tuple(
        PlannedSecret(name=name, env=None if use.file else use.env or name, file=use.file)
        for name, use in spec.secrets.items()
    )


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
    before = 0 if plan.setup is None else plan.setup.steps
    for number, step in enumerate(plan.steps):
        is_own = number < before and spec.setup is not None
        path = "setup.run" if is_own else _path_of(step, number - before if spec.setup is not None else number, spec)
        _check(path, check_line, step.name)
        if step.shell is not None:
            _check(path, check_text, step.shell)
        for word in step.argv or ():
            _check(path, check_text, word)
            _check(path, check_argument, word)
        for name, value in step.env.items():
            _check(f"{path}.env.{name}", partial(check_variable, name), value)
        size = size_of(_arguments(step), plan.env | step.env)
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
