"""One reader, as seen by the process that started it, and the outcome of its task."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_common.errors import FieldError, InvalidRequest, InvalidUpload, RequestError, Unavailable
from ci_common.parsing.large import LARGE_BYTES, is_large
from ci_common.sandbox.channel import HEAD_BYTES, Board, ReadingLimits, Task, as_error, decoded, encoded, length_in
from ci_common.system.processes import state_and_start_of

_PROGRAM = "import sys; sys.path[:] = {path}; from ci_common.sandbox.child import main; main()"
_KEPT_VARIABLES = ("DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
_START_SECONDS = 30.0
_END_SECONDS = 1.0
_LOW_PRIORITY = 10
_IDLE_SHARE = 0.005
"""A silent reader that used less than this share of a processor was not kept busy by the upload."""
_MIB = 1024**2

log = logging.getLogger(__name__)

OnPart = Callable[[Any], Awaitable[None]]
"""Takes a part of a result, as JSON."""


class ReaderLost(Exception):
    """A reader has died or hangs, and not because of a limit of its task."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files that a reader opened last, the newest first."""

    names: Sequence[str]
    only_reads: bool
    """Whether the archive is unpacked. Until then there is one file, and the archive itself may be the cause."""

    def __str__(self) -> str:
        return ", ".join(map(_shown, self.names)) or "no file yet"

    def refused(self, message: str) -> RequestError:
        """Return the error that names the files."""
        kind: type[RequestError] = InvalidRequest if self.only_reads else InvalidUpload
        if not self.names:
            return kind(f"the upload {message}")
        shown = [_shown(name) for name in self.names]
        subject = shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"
        return kind(f"{subject} {message}", *(FieldError(name, message) for name in shown))


@dataclass(frozen=True, slots=True)
class Silence:
    """The state of a reader that has sent no message for too long."""

    spent: float
    """Seconds of processor time in the second half of the silence."""


class Reader:
    """A reader process, which runs one task at a time. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, board: Board) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018  # both are pipes
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._board = board
        self.is_worn = False
        """Whether it must not run another task."""
        self.gives_way = False
        """Whether it runs at a low priority."""
        self.silence: Silence | None = None
        """Set if it has sent no message for too long."""

    @classmethod
    async def start(cls, tasks: str) -> "Reader":
        """Start a reader for the tasks of a module, and wait until it is ready. Raises Unavailable, ReaderLost."""
        path = [os.path.abspath(entry) for entry in sys.path]
        program = _PROGRAM.format(path=json.dumps(path))
        board = Board.create()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-X", "utf8", "-c", program, str(os.getpid()), str(board.descriptor), tasks),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[board.descriptor],
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                cwd="/",
                start_new_session=True,
            )
        except OSError as exc:
            board.close()
            raise Unavailable(f"no process can be started to read the upload: {exc.strerror or exc}") from exc
        reader = cls(process, board)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await reader._next_frame()
        except (TimeoutError, OSError, EOFError) as exc:
            await reader.end()
            raise ReaderLost(f"it ended with {process.returncode} before it was ready") from exc
        except BaseException:
            await reader.end()
            raise
        return reader

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def can_work(self) -> bool:
        """Whether it runs, is not stopped, and may run another task."""
        if self.is_worn or self._process.returncode is not None:
            return False
        state = state_and_start_of(self.pid)
        return state is not None and not state[0].startswith("T")

    async def ask(
        self,
        request: dict[str, Any],
        *,
        silence: float,
        on_advance: Callable[[], None],
        on_part: OnPart | None = None,
    ) -> dict[str, Any]:
        """Run a task and return the answer.

        `on_advance` is called from time to time, and `on_part` with each part of the result that is handed over; an
        error that they raise ends the waiting. Raises TimeoutError after
        `silence` seconds without a message, and OSError or EOFError if the reader dies. After an error the reader has
        to be ended.
        """
        frame = await asyncio.to_thread(encoded, request) if is_large(request) else encoded(request)
        self._requests.write(frame)
        while True:
            answer = await self._next_answer(silence)
            if "advances" not in answer:
                self.is_worn = self.is_worn or bool(answer.get("worn", True))
                return answer
            on_advance()
            if on_part is not None and "part" in answer:
                await on_part(answer["part"])
            self._requests.write(encoded({}))

    async def _next_answer(self, silence: float) -> dict[str, Any]:
        half, loop = 0.0, asyncio.get_running_loop()

        def look() -> None:
            nonlocal half
            half = self.processor_seconds()

        looking = loop.call_later(silence / 2, look)
        try:
            async with asyncio.timeout(silence):
                return await self._next_frame()
        except TimeoutError:
            self.silence = Silence(self.processor_seconds() - half)
            raise
        finally:
            looking.cancel()

    async def _next_frame(self) -> dict[str, Any]:
        head = await self._answers.readexactly(HEAD_BYTES)
        body = await self._answers.readexactly(length_in(head))
        return decoded(body) if len(body) <= LARGE_BYTES else await asyncio.to_thread(decoded, body)

    @property
    def only_reads(self) -> bool:
        """Whether its task only reads from now on."""
        return self._board.flag

    def files(self, root: Path) -> Files:
        """Return the files below `root` that it opened last."""
        return Files([name for name in self._board.read() if os.path.lexists(root / name)], self._board.flag)

    def give_way(self) -> None:
        """Give it a low priority. It then must not run another task, because priorities cannot be raised again."""
        self.is_worn = self.gives_way = True
        try:
            os.setpriority(os.PRIO_PROCESS, self.pid, _LOW_PRIORITY)
        except OSError:
            pass  # It has ended.

    def processor_seconds(self) -> float:
        """Return its processor time in seconds; 0 if the system does not report it."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def end(self) -> int | None:
        """Kill it and return its exit status; None if it takes too long to end, for example because a disk hangs."""
        self.is_worn = True
        if self._process.returncode is None:
            try:
                # `Process.kill` reaps a child that has just ended, so asyncio would get no status.
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            async with asyncio.timeout(_END_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            return None
        finally:
            self._requests.close()

    def forget(self) -> None:
        """Unmap the shared memory. `files` cannot be called after that."""
        self._board.close()


def result_of(answer: dict[str, Any], task: Task, files: Files, limits: ReadingLimits) -> Any:
    """Return the result of a task. Raises the error of the task, and RequestError if the files are the cause."""
    if "result" in answer:
        return answer["result"]
    if "refused" in answer:
        raise as_error(answer["refused"])
    if "over" in answer:
        raise _over(answer["over"], files, limits)
    trace = "\n".join(f"    {_shown(line)}" for line in str(answer["trace"]).splitlines())
    log.warning("an upload cannot be read (%s):\n%s", files, trace)
    reason = " ".join(str(answer["fault"]).replace(f"{task.root}/", "").split())
    raise files.refused(f"cannot be read: {reason}")


def judged(status: int | None, silence: Silence | None, files: Files, limits: ReadingLimits) -> Exception:
    """Return the error for a task without an answer. `status` is the exit status of the reader."""
    if status == -signal.SIGXCPU:
        return _over("time", files, limits)
    if silence is None:
        return ReaderLost(f"it ended with {status}, having opened {files}")
    if silence.spent >= _IDLE_SHARE * limits.longest_silence / 2:
        return _over("silence", files, limits)
    return ReaderLost(f"it said nothing for {limits.longest_silence:g} seconds, having opened {files}")


def _over(what: str, files: Files, limits: ReadingLimits) -> RequestError:
    exceeded = {
        "time": f"takes more than {limits.seconds:g} seconds of a processor to read (CI_READ_TIMEOUT)",
        "silence": f"takes more than {limits.longest_silence:g} seconds to read (CI_READ_TIMEOUT)",
        "memory": f"takes more than {limits.memory / _MIB:g} MiB of memory to read (CI_READ_MEMORY)",
    }.get(what, "asks for more than a plan can hold")
    log.info("an upload is refused: %s %s", files, exceeded)
    return files.refused(exceeded)


def _shown(name: str) -> str:
    """Return the name of a file, escaped if it has characters that cannot be printed."""
    return name if name.isprintable() else ascii(name)
