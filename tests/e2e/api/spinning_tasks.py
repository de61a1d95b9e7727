"""The tasks of the server's readers, but that a file `spin` is read for ever, and a file `hoard` into much memory."""

from pathlib import Path
from typing import Any

from ci_common.archives.tasks import unpack_task
from ci_common.sandbox.child import Caller, TaskFunction
from ci_server.detection.tasks import read_task


def read(argument: dict[str, Any], caller: Caller) -> Any:
    result = read_task(argument, caller)
    spins = Path(argument["target"], "spin").exists()
    while spins:
        pass
    if Path(argument["target"], "hoard").exists():
        bytearray(1 << 40)
    return result


TASKS: dict[str, TaskFunction] = {"unpack": unpack_task, "read": read}
