"""What the command line writes: logs and results to standard output, everything else to standard error.

These are the only doors to a terminal. What is said or shown has its control characters written out, in a pipe, too. A
log is exact bytes, but for a terminal, which gets text and colours alone.
"""

import os
import re
import select
import shutil
import sys
import time
from contextlib import suppress
from typing import TextIO

import anyio
import click

from ci_client.errors import OutputClosed, OutputFailed
from ci_client.escapes import TerminalFilter, visible

_COLOURS_AT_END = re.compile(rb"(?:\x1b\[[0-9;:]*m)+\Z")
_FIRST_LINE_SECONDS = 2.0
_TERMINAL_SECONDS = 0.1
_FILE_SECONDS = 10.0


class LogOutput:
    """Standard output for a job's log. Writing never holds up the event loop, however slow the reader is.

    With `raw`, a terminal gets the exact bytes, too.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._at_line_start = True
        self._filter = TerminalFilter() if not raw and is_terminal(sys.stdout) else None
        self.broken = sys.stdout is None
        """The reader has gone away, or there was none; what is written is dropped."""
        if self.broken:
            return
        self._file = sys.stdout.buffer
        self._poll = select.poll()
        try:
            self._descriptor: int | None = self._file.fileno()
            self._poll.register(self._descriptor, select.POLLOUT)
        except OSError:
            self._descriptor = None  # Not a file of the system's, as when a test catches the output.

    async def write(self, data: bytes) -> None:
        """Write all of `data` that the reader is to have, at once. Raises OutputFailed."""
        await self.write_exactly(self._filter.feed(data) if self._filter is not None else data)

    async def end(self) -> None:
        """End the log: nothing follows what has been kept back. Raises OutputFailed."""
        if self._filter is not None:
            await self.write_exactly(self._filter.feed(b"", final=True) + self._filter.reset())

    async def write_exactly(self, data: bytes) -> None:
        """Write all of `data`, at once and as it is. Raises OutputFailed."""
        if self.broken:
            return
        if text := _COLOURS_AT_END.sub(b"", data):
            self._at_line_start = text.endswith(b"\n")
        try:
            if self._descriptor is None:
                self._file.write(data)
                self._file.flush()
                return
            rest = memoryview(data)
            while rest and not self.broken:
                if not self._poll.poll(0):
                    await anyio.wait_writable(self._descriptor)
                # So much can be written without blocking to a pipe that is ready at all.
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            self.broken = True
        except OSError as exc:
            raise OutputFailed(f"cannot write the log to standard output: {exc.strerror}") from exc

    def finish_line(self) -> None:
        """On a terminal that shows both outputs, end the log's colours and open line before something else comes."""
        if not (is_terminal(sys.stdout) and is_terminal(sys.stderr)):
            return
        if self._filter is not None:
            say_raw(self._filter.reset().decode())
        if not self._at_line_start:
            say_raw("\n")
            self._at_line_start = True


def show(text: str = "", *, mark: str = "") -> None:
    """Write lines to standard output; `mark` is put before them as it is, so it may have colours.

    Raises OutputClosed and OutputFailed.
    """
    show_raw(mark + "\n".join(map(visible, text.split("\n"))) + "\n")


def show_raw(text: str) -> None:
    """Write to standard output. Raises OutputClosed and OutputFailed."""
    if sys.stdout is None:
        raise OutputClosed("standard output is closed, so there is nowhere to write to")
    try:
        click.echo(text, nl=False)
    except BrokenPipeError as exc:
        raise OutputClosed from exc
    except OSError as exc:
        raise OutputFailed(f"cannot write to standard output: {exc.strerror}") from exc


def say(message: str, *, problem: bool = False) -> None:
    """Write one line to standard error."""
    name = click.style("ci: ", fg="red" if problem else "cyan") if _in_colour() else "ci: "
    say_raw(name + visible(message) + "\n")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # Closed.


def _in_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say_raw(text: str) -> None:
    """Write to standard error; where nothing reads it any more, do nothing."""
    with suppress(OSError):
        click.echo(text, err=True, nl=False)


class Progress:
    """One line on standard error that says how far something has come: on a terminal, or where it takes long."""

    def __init__(self) -> None:
        self._terminal = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + (_TERMINAL_SECONDS if self._terminal else _FIRST_LINE_SECONDS)
        self._shown = False

    def show(self, text: str) -> None:
        """Show a newer state; most calls write nothing."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_SECONDS if self._terminal else _FILE_SECONDS)
        self._shown = True
        if self._terminal:
            # A line that wraps could not be taken back. Some terminals say that they have no columns.
            width = max(shutil.get_terminal_size().columns - 1, 20)
            say_raw(f"\r\x1b[K{visible(text)[:width]}")
        else:
            say(text)

    def done(self) -> None:
        """Take the line away from a terminal."""
        if self._shown and self._terminal:
            say_raw("\r\x1b[K")
