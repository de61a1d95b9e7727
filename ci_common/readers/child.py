"""The program of a reader: it does the tasks that come on standard input, one at a time, until that ends.

python -I -c "…; main()" <parent's pid> <descriptor of the board> <module with TASKS>
"""

import importlib
import os
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

from ci_common.errors import RequestError
from ci_common.readers.board import Board
from ci_common.readers.confinement import Allowance, ReadingLimits, confine, resident_size
from ci_common.readers.faults import OF_THE_UPLOAD, as_message
from ci_common.readers.frames import encoded, read_frame

MAX_RESULT_BYTES = 4 * 1024**2
_NAMES = 8
_TASKS_PER_READER = 500
_GROWTH_BYTES = 48 * 1024**2
_ASK_BYTES = 1024**2
_ASK_SECONDS = 1.0


class Caller:
    """The process that asked, as a task sees it."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, board: Board, allowance: Allowance) -> None:
        self._requests = requests
        self._answers = answers
        self._board = board
        self._allowance = allowance
        self._names: deque[str] = deque(maxlen=_NAMES)
        self._roots: tuple[str, ...] = ()
        self._unasked = 0
        self._asked = time.monotonic()

    def begin(self, root: str, names: int) -> None:
        """Keep the names of the last few files that are opened below `root`."""
        self._names = deque(maxlen=names)
        self._roots = tuple(dict.fromkeys((root.rstrip("/") + "/", os.path.realpath(root) + "/")))
        self._unasked = 0
        self._asked = time.monotonic()
        self._board.write(())

    def opens(self, path: object) -> None:
        """Note that a file is opened."""
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        for root in self._roots:
            if text.startswith(root):
                self.note(text.removeprefix(root))
                return

    def note(self, name: str) -> None:
        """Note the file that is read or written from now on."""
        if name in self._names:
            self._names.remove(name)
        self._names.appendleft(name)
        self._board.write(self._names)

    def advance(self, size: int = 0) -> None:
        """Go on with another part of the work, which has a time of its own, and in which `size` bytes are written.

        The process that asked is told once in a while. It looks whether there is room, and ends the reader if not.
        """
        self._allowance.renew()
        self._unasked += size
        now = time.monotonic()
        if self._unasked >= _ASK_BYTES or now - self._asked >= _ASK_SECONDS:
            self._unasked, self._asked = 0, now
            _send(self._answers, {"advances": True})
            if read_frame(self._requests) is None:
                os._exit(0)


Task = Callable[[dict[str, Any], Caller], Any]
"""Takes an argument and returns a result, both plain JSON. Raises RequestError or OSError; all else is a fault."""


def main() -> None:
    """Do what comes on standard input, and end with it."""
    parent, descriptor, module = sys.argv[1:]
    warnings.simplefilter("ignore")  # Of code that is read, not ours.
    confine(int(parent))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What is printed must not come between the answers.
    allowance = Allowance()
    caller = Caller(requests, answers, Board(int(descriptor)), allowance)
    tasks: dict[str, Task] = importlib.import_module(module).TASKS
    sys.addaudithook(lambda event, arguments: caller.opens(arguments[0]) if event == "open" else None)
    sys.dont_write_bytecode = True
    resident = resident_size() or 0
    _send(answers, {"ready": True})
    for number in range(1, _TASKS_PER_READER + 1):
        request = read_frame(requests)
        if request is None:
            return
        answer = _answer(tasks[request["task"]], request, caller, allowance)
        answer["worn"] = (
            number == _TASKS_PER_READER or "over" in answer or (resident_size() or 0) > resident + _GROWTH_BYTES
        )
        _send(answers, answer)
        if answer["worn"]:
            return


def _answer(task: Task, request: dict[str, Any], caller: Caller, allowance: Allowance) -> dict[str, Any]:
    caller.begin(request["root"], request["names"])
    allowance.begin(ReadingLimits(request["seconds"], request["memory"]), writes=request["writes"])
    try:
        answer = {"result": task(request["argument"], caller)}
        if len(encoded(answer)) > MAX_RESULT_BYTES:
            return {"over": "result"}
        return answer
    except MemoryError:
        allowance.lift_memory()
        return {"over": "memory"}
    except RequestError as exc:
        return {"refused": as_message(exc)}
    except OSError as exc:
        if exc.errno not in OF_THE_UPLOAD:
            return {"refused": as_message(exc)}
        return {"fault": exc.strerror or str(exc), "trace": traceback.format_exc(limit=-8)}
    except Exception as exc:
        return {"fault": f"{type(exc).__name__}: {exc}"[:1000], "trace": traceback.format_exc(limit=-8)}


def _send(stream: BinaryIO, message: dict[str, Any]) -> None:
    stream.write(encoded(message))
    stream.flush()
