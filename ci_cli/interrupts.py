"""Ctrl-C and SIGTERM while a command runs.

Usually they end the command, by cancelling its task. A command that follows a job takes them itself, within `taken`.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ci_cli.unexpected import spare_the_terminal
from ci_client.exits import EX_INTERRUPTED


class Interrupts:
    """The signals of one command, for the task in which it is made."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "made in a task"
        self._task = task
        self._signals: asyncio.Queue[int] | None = None
        self.has_ended_command = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._handle, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    @contextmanager
    def taken(self) -> Iterator["asyncio.Queue[int]"]:
        """Give the signals that come, in a queue, instead of ending the command."""
        self._signals = asyncio.Queue()
        try:
            yield self._signals
        finally:
            self._signals = None

    def _handle(self, number: int) -> None:
        if self._signals is not None:
            self._signals.put_nowait(number)
        else:
            self.has_ended_command = True
            self._task.cancel()


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back in code that cannot be left at any point; what is given raises it, called at one where it can.

    So does the end of the block.
    """
    has_come = False

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # as Python calls it
        nonlocal has_come
        has_come = True

    def leave_if_asked() -> None:
        if has_come:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield leave_if_asked
    finally:
        signal.signal(signal.SIGINT, previous)
    leave_if_asked()


def run_command(command: Callable[[Interrupts], Awaitable[int]]) -> int:
    """Run a command in an event loop of its own and return its exit status, 130 where a signal ended it."""

    spare_the_terminal()

    async def main() -> int:
        interrupts = Interrupts()
        with interrupts.installed():
            try:
                return await command(interrupts)
            except asyncio.CancelledError:
                if interrupts.has_ended_command:
                    return EX_INTERRUPTED
                raise

    return asyncio.run(main())
