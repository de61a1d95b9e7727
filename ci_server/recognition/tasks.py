"""What readers do with uploads: unpack them, and find out how to run the project."""

from pathlib import Path
from typing import Any

from ci_common.errors import InvalidRequest
from ci_common.readers.child import Caller, Task
from ci_common.readers.pool import Readers, Work
from ci_common.readers.unpacking import unpack_task
from ci_common.retention import Limit
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan, Spec
from ci_server.recognition.projects import Resolved, resolve

MODULE = __name__


def resolve_task(argument: dict[str, Any], _: Caller) -> dict[str, Any]:
    """Return how to run an unpacked project, as JSON."""
    requested = Spec.model_validate(argument["requested"])
    resolved = resolve(Path(argument["workspace"]), requested, Settings(**argument["settings"]))
    return {
        "spec": resolved.spec.model_dump(mode="json", exclude_unset=True),
        "plan": resolved.plan.model_dump(mode="json"),
    }


TASKS: dict[str, Task] = {"unpack": unpack_task, "resolve": resolve_task}


async def resolve_with(readers: Readers, workspace: Path, requested: Spec, settings: Settings) -> Resolved:
    """Return how to run the project in `workspace`, as `resolve` does, found out by a reader.

    Raises what `resolve` and `Readers.do` raise, and
    InvalidRequest where the project's files cannot be read or take more than they may.
    """
    argument = {
        "workspace": str(workspace),
        "requested": requested.model_dump(mode="json", exclude_unset=True),
        "settings": {name: str(value) if isinstance(value, Path | Limit) else value for name, value in settings},
    }
    answer = await readers.do(Work("resolve", argument, workspace, InvalidRequest))
    return Resolved(Spec.model_validate(answer["spec"]), ExecutionPlan.model_validate(answer["plan"]))
