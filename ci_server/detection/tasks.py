"""The tasks of readers for an upload: unpack it, and detect how to run the project."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_common.archives.tasks import limits_argument, unpack_argument, unpack_task
from ci_common.archives.unpack import UnpackLimits
from ci_common.manifests.session import Session
from ci_common.manifests.tasks import TASKS as MANIFEST_TASKS
from ci_common.manifests.tasks import complete_task
from ci_common.sandbox.channel import Task
from ci_common.sandbox.child import Caller, TaskFunction
from ci_common.settings import Settings
from ci_common.sharing.projects import stored_defaults
from ci_common.spec import ExecutionPlan, Spec
from ci_server.detection.projects import ProjectDefaults, Resolved, resolve

if TYPE_CHECKING:
    from ci_common.sandbox.pool import Readers  # Importing it would slow the start of readers, which do not use it.

MODULE = __name__

_DEFAULTS = {
    "default_image",
    "default_timeout",
    "default_no_output_timeout",
    "max_log_bytes",
    "prepared_bytes",
    "installer",
}
"""The settings that `resolve` uses."""
_COLUMNS = {"concurrency", "labels", "priority", "project"}
"""The fields of a spec that the server stores in columns; all others are in the plan."""


def read_task(argument: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Unpack an archive, and return how to run the project in it."""
    unpack_task(argument, caller)
    return _resolved(Path(argument["target"]), argument, caller)


def complete_and_read_task(argument: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Complete an upload by manifest, and return how to run the project in it."""
    complete_task(argument, caller)
    return _resolved(Session(Path(argument["session"])).workspace, argument, caller)


def _resolved(workspace: Path, argument: dict[str, Any], caller: Caller) -> dict[str, Any]:
    requested = Spec.model_validate(argument["requested"])
    settings = _settings(*argument["settings"].items())
    caller.only_read(workspace)
    defaults = ProjectDefaults(
        {name: Spec.model_validate(spec) for name, spec in argument["defaults"].items()}, argument["otherwise"]
    )
    resolved = resolve(workspace, requested, settings, defaults)
    return {
        "spec": resolved.spec.model_dump(mode="json", include=_COLUMNS),
        "plan": resolved.plan.model_dump(mode="json"),
    }


TASKS: dict[str, TaskFunction] = {
    "unpack": unpack_task,
    "read": read_task,
    **MANIFEST_TASKS,
    "complete and read": complete_and_read_task,
}


async def read_with(
    readers: "Readers",
    archive: Path,
    workspace: Path,
    requested: Spec,
    settings: Settings,
    limits: UnpackLimits,
    *,
    defaults: ProjectDefaults,
    check_room: Callable[[], None],
) -> Resolved:
    """Have `archive` unpacked into the empty directory `workspace`, and return how to run the project in it.

    The `spec` in the result only has the fields for the job's own columns. Raises what `unpack_with` and `resolve`
    raise, and InvalidRequest if the project's files cannot be read, or reading them exceeds the limits.
    """
    argument = unpack_argument(archive, workspace, limits) | _requested(requested, settings, defaults)
    return _answer(await readers.do(Task("read", argument, workspace), on_advance=check_room))


async def complete_with(
    readers: "Readers",
    session: Session,
    requested: Spec,
    settings: Settings,
    limits: UnpackLimits,
    *,
    defaults: ProjectDefaults,
    check_room: Callable[[], None],
) -> Resolved:
    """Have an upload by manifest completed, and return how to run the project in it, as `read_with` does."""
    argument = {
        "session": str(session.path),
        "limits": limits_argument(limits),
        **_requested(requested, settings, defaults),
    }
    return _answer(await readers.do(Task("complete and read", argument, session.workspace), on_advance=check_room))


def _requested(requested: Spec, settings: Settings, defaults: ProjectDefaults) -> dict[str, Any]:
    return {
        "defaults": {name: stored_defaults(spec) for name, spec in defaults.specs.items()},
        "otherwise": defaults.otherwise,
        "requested": requested.model_dump(mode="json", exclude_unset=True),
        "settings": {name: getattr(settings, name) for name in _DEFAULTS},
    }


def _answer(answer: dict[str, Any]) -> Resolved:
    return Resolved(Spec.model_validate(answer["spec"]), ExecutionPlan.model_validate(answer["plan"]))


@lru_cache(maxsize=1)
def _settings(*fields: tuple[str, Any]) -> Settings:
    return Settings(**dict(fields))
