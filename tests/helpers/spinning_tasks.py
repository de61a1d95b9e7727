"""The tasks of the server's readers, but that projects with a file `spin` are read for ever."""

from pathlib import Path
from typing import Any

from ci_common.readers.child import Caller, TaskFunction
from ci_common.readers.unpacking import unpack_task
from ci_server.recognition.tasks import read_task


def read(argument: dict[str, Any], caller: Caller) -> Any:
    result = read_task(argument, caller)
    spins = Path(argument["target"], "spin").exists()
    while spins:
        pass
    return result


TASKS: dict[str, TaskFunction] = {"unpack": unpack_task, "read": read}
