"""The output of the command line: logs and results to standard output, everything else to standard error.

Commands write to a terminal only by this module. Messages and results have their control characters written out, also
in a pipe. A log is written as exact bytes, except to a terminal, which gets only text and colours.
"""

import os
import re
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self, TextIO

import click

from ci_client.errors import OutputClosed, OutputFailed
from ci_client.escapes import TerminalFilter, visible

_COLOURS_AT_END = re.compile(rb"(?:\x1b\[[0-9;:]*m)+\Z")
_FIRST_LINE_SECONDS = 2.0
_TERMINAL_SECONDS = 0.1
_FILE_SECONDS = 10.0
_BAR_CELLS = 24
_chosen = {"colour": "auto"}


class LogOutput:
    """Standard output for a job's log. Writing never blocks the event loop, however slow the reader is.

    With `raw`, a terminal also gets the exact bytes.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._at_line_start = True
        self._filter = None if raw or not _is_filtered() else TerminalFilter(colours=in_colour(sys.stdout))
        self.broken = sys.stdout is None
        """Whether there is no reader (any more). Then writes are dropped."""
        if self.broken:
            return
        self._file = sys.stdout.buffer
        self._poll = select.poll()
        try:
            self._descriptor: int | None = self._file.fileno()
            self._poll.register(self._descriptor, select.POLLOUT)
        except OSError:
            self._descriptor = None  # Not a real file, for example when a test captures the output.

    async def write(self, data: bytes) -> None:
        """Write `data`, filtered for a terminal, without buffering. Raises OutputFailed."""
        await self.write_exactly(self._filter.feed(data) if self._filter is not None else data)

    async def end(self) -> None:
        """End the log: write what the filter held back. Raises OutputFailed."""
        if self._filter is not None:
            await self.write_exactly(self._filter.feed(b"", final=True) + self._filter.reset())

    async def write_exactly(self, data: bytes) -> None:
        """Write `data` unchanged, without buffering. Raises OutputFailed."""
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
                    from anyio import wait_writable  # Seldom needed, and slow to import.

                    await wait_writable(self._descriptor)
                # A pipe that is ready takes this much without blocking.
                rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            self.broken = True
        except OSError as exc:
            raise OutputFailed(f"cannot write the log to standard output: {exc.strerror}") from exc

    @property
    def is_at_line_start(self) -> bool:
        """Whether the log has no open line."""
        return self._at_line_start

    def finish_line(self) -> None:
        """On a terminal that shows both outputs, end the log's colours and its open line before a message."""
        if not is_one_terminal():
            return
        if self._filter is not None:
            say_raw(self._filter.reset().decode())
        if not self._at_line_start:
            say_raw("\n")
            self._at_line_start = True


def show(text: str = "", *, mark: str = "") -> None:
    """Write lines to standard output. `mark` goes before them unchanged, so it may have colours.

    Raises OutputClosed and OutputFailed.
    """
    show_raw(mark + "\n".join(map(visible, text.split("\n"))) + "\n")


def show_fitting(render: Callable[..., str]) -> None:
    """Write what `render` returns for the width of the window, and in colour or not; it has nothing to be escaped.

    Raises OutputClosed and OutputFailed.
    """
    show_raw(render(width=window_width(), coloured=in_colour(sys.stdout)) + "\n")


def show_raw(text: str) -> None:
    """Write to standard output. Raises OutputClosed and OutputFailed."""
    if sys.stdout is None:
        raise OutputClosed("standard output is closed, so the result cannot be written")
    try:
        click.echo(text, nl=False, color=in_colour(sys.stdout))
    except BrokenPipeError as exc:
        raise OutputClosed from exc
    except OSError as exc:
        raise OutputFailed(f"cannot write to standard output: {exc.strerror}") from exc


def say(message: str, *, problem: bool = False) -> None:
    """Write one line to standard error."""
    name = click.style("ci: ", fg="red" if problem else "cyan") if in_colour(sys.stderr) else "ci: "
    say_raw(name + visible(message) + "\n")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False  # Closed.


def is_one_terminal() -> bool:
    """Return whether both outputs are shown by a terminal, which is taken for the same."""
    return is_terminal(sys.stdout) and is_terminal(sys.stderr)


def window_width() -> int | None:
    """Return how many columns standard output has; None if it is not a terminal, or does not say."""
    return _columns(0) or None if is_terminal(sys.stdout) else None


def choose_colour(when: str) -> None:
    """Set when output is in colour: `auto` (on terminals, unless the environment says otherwise), `always`, `never`."""
    _chosen["colour"] = when


def in_colour(stream: TextIO | None) -> bool:
    """Return whether what is written to a stream is in colour. See https://no-color.org and https://force-color.org."""
    if _chosen["colour"] != "auto":
        return _chosen["colour"] == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def _is_filtered() -> bool:
    """Return whether a log is not written as exact bytes: to a terminal, or because no colours are wanted."""
    return is_terminal(sys.stdout) or _chosen["colour"] == "never"


def say_raw(text: str) -> None:
    """Write to standard error, or do nothing if it has no reader."""
    with suppress(OSError):
        click.echo(text, err=True, nl=False, color=is_terminal(sys.stderr) or in_colour(sys.stderr))


class Progress:
    """A progress line on standard error: at once on a terminal, elsewhere only if it takes long.

    The end of its context erases the line from a terminal.
    """

    def __init__(self) -> None:
        self._terminal = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + (_TERMINAL_SECONDS if self._terminal else _FIRST_LINE_SECONDS)
        self._shown = False

    def show(self, text: str, done: float | None = None) -> None:
        """Show a newer state; `done` is the part of the work that is. Calls in quick succession write nothing."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_SECONDS if self._terminal else _FILE_SECONDS)
        self._shown = True
        if self._terminal:
            # A line that wraps could not be erased. Some terminals report 0 columns.
            width = max(_columns(80) - 1, 20)
            text = text if done is None or width < len(text) + _BAR_CELLS + 8 else f"{_bar(done)}  {text}"
            say_raw(f"\r\x1b[K{visible(text)[:width]}")
        else:
            say(text)

    def clear(self) -> None:
        """Erase the line from a terminal, so that something else may be written."""
        if self._shown and self._terminal:
            say_raw("\r\x1b[K")
            self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def _columns(otherwise: int) -> int:
    from shutil import get_terminal_size  # It imports all that packs archives.

    return get_terminal_size((otherwise, 24)).columns


def _bar(done: float) -> str:
    """Return a bar of which the part `done` is full."""
    full, empty = "█░" if (sys.stderr.encoding or "").lower().replace("-", "") == "utf8" else "#."
    count = round(_BAR_CELLS * min(max(done, 0.0), 1.0))
    return f"{full * count}{empty * (_BAR_CELLS - count)} {done:>4.0%}"
