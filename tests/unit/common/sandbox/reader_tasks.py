"""What a hostile project may do to its reader, as tasks."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from ci_common.errors import FieldError, InvalidUpload
from ci_common.sandbox.child import Caller, TaskFunction


def echo(argument: Any, _: Caller) -> Any:
    return argument | {"pid": os.getpid()}


def hold(argument: Any, _: Caller) -> NoReturn:
    """Say that it has begun, and do nothing for ever."""
    Path(argument["begun"]).write_text(str(os.getpid()))
    while True:
        signal.pause()


def spin(argument: Any, caller: Caller) -> NoReturn:
    """Open the files it is told to, and compute for ever."""
    caller.only_read(Path(argument["root"]))
    for name in argument["opens"]:
        try:
            open(f"{argument['root']}/{name}").close()
        except FileNotFoundError:
            pass
    while True:
        pass


def stick(argument: Any, caller: Caller) -> NoReturn:
    """Compute for ever over a file that is being unpacked."""
    caller.go_on_to(argument["at"])
    while True:
        pass


def unpack_slowly(argument: Any, caller: Caller) -> None:
    """Take all of the time for each of several files."""
    for number in range(argument["files"]):
        caller.go_on_to(f"file-{number}")
        begun = time.process_time()
        while time.process_time() - begun < argument["seconds"]:
            pass


def eat(argument: Any, caller: Caller) -> int:
    caller.only_read(Path(argument["root"]))
    open(f"{argument['root']}/{argument['opens']}").close()
    return len(bytearray(argument["bytes"]))


def die(argument: Any, _: Caller) -> Any:
    """Die as often as there are lives to lose."""
    lives = Path(argument["lives"])
    left = int(lives.read_text())
    if left:
        lives.write_text(str(left - 1))
        os.kill(os.getpid(), argument["signal"])
    return {"survived": True}


def say(argument: Any, _: Caller) -> str:
    return "x" * int(argument["length"])


def grow(argument: Any, _: Caller) -> Any:
    """Keep memory for good."""
    sys.modules["kept"] = bytearray(os.urandom(1)) * argument["bytes"]  # type: ignore[assignment]
    return {"pid": os.getpid()}


def refuse(argument: Any, _: Caller) -> NoReturn:
    raise InvalidUpload(argument["text"], FieldError("file", "\udcff"))


def fail(argument: Any, caller: Caller) -> NoReturn:
    caller.only_read(Path(argument["root"]))
    open(f"{argument['root']}/{argument['opens']}").close()
    raise RecursionError("too deep\n2026-01-01 INFO forged \x1b[2J")


def system_error(argument: Any, _: Caller) -> NoReturn:
    raise OSError(argument["errno"], os.strerror(argument["errno"]))


def write(argument: Any, caller: Caller) -> None:
    """Try to write where only reading is left to do."""
    caller.only_read(Path(argument["root"]))
    Path(argument["root"], "new").write_text("x")


def what_it_has(_: Any, __: Caller) -> Any:
    return {
        "environment": sorted(os.environ),
        "descriptors": [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()],
        "cwd": os.getcwd(),
    }


TASKS: dict[str, TaskFunction] = {
    function.__name__: function
    for function in (
        echo, hold, spin, stick, unpack_slowly, eat, die, say, grow, refuse, fail, system_error, write, what_it_has
    )
}  # fmt: skip
