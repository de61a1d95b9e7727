"""The program of a reader: it runs the tasks from its standard input, one at a time, until the input ends.

python -I -c "…; main()" <parent's pid> <descriptor of the board> <module with TASKS>
"""

import gc
import importlib
import os
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ci_common.errors import RequestError
from ci_common.sandbox.channel import OF_THE_UPLOAD, Board, ReadingLimits, as_message, encoded, read_frame
from ci_common.sandbox.confinement import Allowance, confine, lift_memory, resident_size

MAX_RESULT_BYTES = 4 * 1024**2
_NAMES = 8
_TELLING_PARTS = 3
_TASKS_PER_READER = 500
_GROWTH_BYTES = 48 * 1024**2
_ASK_BYTES = 4 * 1024**2
_GC_THRESHOLDS = 10_000, 20, 20
_ASK_SECONDS = 1.0


class Caller:
    """The process that sent the task, as the task sees it."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, board: Board) -> None:
        self._requests = requests
        self._answers = answers
        self._board = board
        self._allowance = Allowance()
        self._names: deque[str] = deque(maxlen=1)
        self._end_of_root = ""
        self._unasked = 0
        self._asked = 0.0
        self.is_again = False
        """Whether another reader has begun this task before, and died."""

    def begin(self, request: dict[str, Any]) -> None:
        """Begin a task that may write."""
        self.is_again = request["again"]
        self._allowance.begin(ReadingLimits(request["seconds"], request["memory"]))
        self._clear_board(writes=True)
        self._asked = time.monotonic()

    def only_read(self, root: Path) -> None:
        """Only read from now on. All files below `root` that are opened share the task's time limit."""
        self._allowance.start_over(writes=False)
        self._clear_board(writes=False)
        # The beginning of the path may differ, because of links above the data directory.
        self._end_of_root = "/".join(("", *root.parts[-_TELLING_PARTS:], ""))

    def _clear_board(self, *, writes: bool) -> None:
        self._board.flag = not writes
        self._names = deque(maxlen=1 if writes else _NAMES)
        self._board.write(())
        self._end_of_root = ""

    def opens(self, path: object) -> None:
        """Note that a file is opened."""
        if self._end_of_root and isinstance(path, str | bytes | os.PathLike):
            _, found, name = os.fsdecode(path).partition(self._end_of_root)
            if found:
                self._note(name)

    def _note(self, name: str) -> None:
        if name in self._names:
            self._names.remove(name)
        self._names.appendleft(name)
        self._board.write(self._names)

    def go_on_to(self, name: str) -> None:
        """Continue with another file, which gets the full time limit."""
        self._note(name)
        self.advance()

    def advance(self, size: int = 0) -> None:
        """Continue with another part of a file, of which `size` bytes are written; it gets the full time limit.

        The other process is notified from time to time. It ends the reader if the disk is full.
        """
        self._allowance.renew()
        self._unasked += size
        now = time.monotonic()
        if self._unasked >= _ASK_BYTES or now - self._asked >= _ASK_SECONDS:
            self._unasked, self._asked = 0, now
            _send(self._answers, {"advances": True})
            if read_frame(self._requests) is None:
                os._exit(0)

    def hand_over(self, part: Any) -> None:
        """Give the other process a part of the result, which it has dealt with when this returns. Counts as an advance.

        A result that is too long for one answer is handed over in parts. If a reader dies, another one begins again.
        """
        self._allowance.renew()
        _send(self._answers, {"advances": True, "part": part})
        if read_frame(self._requests) is None:
            os._exit(0)


TaskFunction = Callable[[dict[str, Any], Caller], Any]
"""Takes an argument and returns a result, both JSON. Raises RequestError or OSError; other errors are faults."""


def main() -> None:
    """Run the tasks from standard input until it ends."""
    parent, descriptor, module = sys.argv[1:]
    warnings.simplefilter("ignore")  # They are about code in the upload.
    confine(int(parent))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # Printed text must not get between the answers.
    tasks: dict[str, TaskFunction] = importlib.import_module(module).TASKS
    caller = Caller(requests, answers, Board(int(descriptor)))
    sys.addaudithook(lambda event, arguments: caller.opens(arguments[0]) if event == "open" else None)
    sys.dont_write_bytecode = True
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    resident = resident_size() or 0
    _send(answers, {"ready": True})
    for number in range(1, _TASKS_PER_READER + 1):
        request = read_frame(requests)
        if request is None:
            return
        answer = _answer(tasks[request["task"]], request, caller)
        is_large = (resident_size() or 0) > resident + _GROWTH_BYTES
        is_worn = is_large or "over" in answer or number == _TASKS_PER_READER
        frame = encoded(answer | {"worn": is_worn})
        if len(frame) > MAX_RESULT_BYTES:
            is_worn, frame = True, encoded({"over": "result", "worn": True})
        answers.write(frame)
        answers.flush()
        if is_worn:
            return


def _answer(task: TaskFunction, request: dict[str, Any], caller: Caller) -> dict[str, Any]:
    caller.begin(request)
    try:
        return {"result": task(request["argument"], caller)}
    except MemoryError:
        lift_memory()
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
