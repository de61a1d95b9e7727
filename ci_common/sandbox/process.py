"""One reader, as the process that started it sees it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ci_common.errors import Unavailable
from ci_common.sandbox.board import Board
from ci_common.sandbox.frames import HEAD_BYTES, decoded, encoded, length_in
from ci_common.sandbox.verdicts import Files, ReaderLost, Silence
from ci_common.system.process_start import state_and_start_of

_PROGRAM = "import sys; sys.path[:] = {path}; from ci_common.sandbox.child import main; main()"
_KEPT_VARIABLES = ("DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
_START_SECONDS = 30.0
_END_SECONDS = 1.0
_LOW_PRIORITY = 10


class Reader:
    """A process that does one task at a time. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, board: Board) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018  # both are pipes
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._board = board
        self.is_worn = False
        """Whether it is to do no other task."""
        self.gives_way = False
        """Whether everything else goes first."""
        self.silence: Silence | None = None
        """Set where it has said nothing for too long."""

    @classmethod
    async def start(cls, tasks: str) -> "Reader":
        """Start one for the tasks of a module, and wait until it is ready. Raises Unavailable, ReaderLost."""
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
            raise Unavailable(f"no process can be started to read the upload in: {exc.strerror or exc}") from exc
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
        """Whether it lives, and is not stopped."""
        if self.is_worn or self._process.returncode is not None:
            return False
        state = state_and_start_of(self.pid)
        return state is not None and not state[0].startswith("T")

    async def ask(self, request: dict[str, Any], *, silence: float, on_advance: Callable[[], None]) -> dict[str, Any]:
        """Have a task done and return the answer.

        `on_advance` is called once in a while; what it raises ends the waiting. Raises TimeoutError after that many
        seconds without a word, and OSError or EOFError where the reader dies. After an error the reader has to be
        ended.
        """
        self._requests.write(encoded(request))
        while True:
            answer = await self._next_answer(silence)
            if "advances" not in answer:
                self.is_worn = self.is_worn or bool(answer.get("worn", True))
                return answer
            on_advance()
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
        return decoded(await self._answers.readexactly(length_in(head)))

    @property
    def only_reads(self) -> bool:
        """Whether its task does not write any more."""
        return self._board.flag

    def files(self, root: Path) -> Files:
        """Return the files below `root` that it has opened last."""
        return Files([name for name in self._board.read() if os.path.lexists(root / name)], self._board.flag)

    def give_way(self) -> None:
        """Let everything else go first from now on. It is worn then, since there is no way back."""
        self.is_worn = self.gives_way = True
        try:
            os.setpriority(os.PRIO_PROCESS, self.pid, _LOW_PRIORITY)
        except OSError:
            pass  # It has ended.

    def processor_seconds(self) -> float:
        """Return how long it has used a processor; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def end(self) -> int | None:
        """Kill it, and return its status once it has gone; None where it takes longer, as in a disk that hangs."""
        self.is_worn = True
        if self._process.returncode is None:
            try:
                # `Process.kill` waits for a child that has just ended, so that asyncio gets no status of it.
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
        """Let go of the memory that is shared with it. Its files are not known any longer."""
        self._board.close()
