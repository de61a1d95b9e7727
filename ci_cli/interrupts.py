"""Ctrl-C and SIGTERM while a command runs.

By default they end the command by cancelling its task. A command that follows a job handles them itself, by `queued`.
"""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Interrupts:
    """The signal handling of one command. Create it in the command's task."""

    def __init__(self) -> None:
        from asyncio import current_task  # It takes long to import, and a project is read and sent before that.

        task = current_task()
        assert task is not None, "created in a task"
        self._task = task
        self._signals: asyncio.Queue[int] | None = None
        self.has_ended_command = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals while the block runs."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._handle, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    @contextmanager
    def queued(self) -> Iterator["asyncio.Queue[int]"]:
        """While the block runs, put signals into the yielded queue instead of ending the command."""
        from asyncio import Queue

        self._signals = Queue()
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
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C in code that must not be interrupted at any point.

    The yielded function raises KeyboardInterrupt if Ctrl-C has come; call it where an interrupt is safe. The end of the
    block raises it, too.
    """
    has_come = False

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler's signature
        nonlocal has_come
        has_come = True

    def check() -> None:
        if has_come:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
    check()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at SIGTERM, as at Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler's signature
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def run_command(command: Callable[[Interrupts], Awaitable[int]]) -> int:
    """Run a command in a new event loop and return its exit status, which is 130 if a signal ended it."""
    import asyncio

    from ci_cli.unexpected import hide_tracebacks
    from ci_client.exits import EX_INTERRUPTED

    hide_tracebacks()

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
