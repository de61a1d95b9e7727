"""What is shown of a job while it runs: its log, its steps, and on a terminal a status line.

Where both outputs are one terminal, a step's output is folded: while it runs, its last lines are shown, and once it has
succeeded, one line is left of it. The output of a step that did not succeed is written out in full. Everywhere else,
the log is written as it comes, and every step is announced.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from ci_cli.console import LogOutput, is_one_terminal, say, say_raw
from ci_cli.display.live import LiveRegion, Row, can_draw, cells, fitting, has_unicode, spinner, styled
from ci_client.errors import ConnectionBroken, ServerError, ServerUnreachable
from ci_client.escapes import TerminalFilter
from ci_client.formatting import span, step_title
from ci_common.wire.stream import Cursor, Event

_TICK_SECONDS = 0.12
_KEPT_LINES = 5
_KEPT_BYTES = 4096
_WHOLE = "command"
"""What the server calls the only step of a job with a command, whose output is what the user asks for."""
_NAME_CELLS = 12
_GREEN, _RED, _DIM, _YELLOW = "32", "31", "90", "33"

ReadLog = Callable[[int, int, int], AsyncGenerator[bytes, None]]
"""Returns the bytes of the log of an attempt from one offset to another."""


@dataclass(slots=True)
class RunningStep:
    """A step that has begun."""

    name: str
    begun: float
    start: Cursor
    is_folded: bool
    strip: TerminalFilter = field(default_factory=lambda: TerminalFilter(colours=False))
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    open_line: str = ""

    def add(self, data: bytes) -> None:
        """Keep the last lines of the output that follows."""
        text = self.open_line + self.strip.feed(data[-_KEPT_BYTES:]).decode()
        *whole, rest = text.split("\n")
        self.lines.extend(line for line in map(_last_state, whole) if line)
        self.open_line = rest[-_KEPT_BYTES:]

    def last_lines(self) -> list[str]:
        rest = _last_state(self.open_line)
        return [*self.lines, *([rest] if rest else [])][-_KEPT_LINES:]


def _last_state(line: str) -> str:
    """Return what a line shows after its carriage returns."""
    return line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ").rstrip()


class JobDisplay:
    """Shows one job, from one process. `read_log` is asked for the output of folded steps that have failed."""

    def __init__(self, output: LogOutput, read_log: ReadLog, *, folds: bool, draws: bool) -> None:
        self._output = output
        self._read_log = read_log
        self._live = LiveRegion() if draws and can_draw() else None
        self._folds = folds and self._live is not None and is_one_terminal()
        self._turn = 0
        self._is_writing = False
        self._begun = time.monotonic()
        self._waits_for = ""
        self._place = Cursor()
        self._step: RunningStep | None = None
        self._done = 0
        self.usual: dict[str, float] = {}
        """How many seconds steps usually take, by their names."""

    @property
    def folds(self) -> bool:
        """Whether steps are folded."""
        return self._folds

    @property
    def draws(self) -> bool:
        """Whether there is a status line."""
        return self._live is not None

    async def animate(self) -> None:
        """Draw the status line again and again, until cancelled."""
        try:
            while self._live is not None:
                await asyncio.sleep(_TICK_SECONDS)
                self._turn += 1
                if self._is_writing:
                    continue
                if not is_one_terminal() or self._is_folding or self._output.is_at_line_start:
                    self._live.draw(self._rows())
        finally:
            self.clear()

    def clear(self) -> None:
        """Remove the status line, so that something else may be written."""
        if self._live is not None:
            self._live.erase()

    @property
    def _is_folding(self) -> bool:
        return self._step is not None and self._step.is_folded

    def waits_for(self, reason: str) -> None:
        """Note what the job waits for; empty once it runs."""
        if reason != self._waits_for:
            self._waits_for, self._begun = reason, time.monotonic()

    async def log(self, data: bytes, place: Cursor) -> None:
        """Show output that ends at a place."""
        self._place = place
        step = self._step
        if step is not None and step.is_folded:
            step.add(data)
            return
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        """Write to the log's output. Until that is done, nothing is drawn."""
        self.clear()
        self._is_writing = True
        try:
            await self._output.write(data)
        finally:
            self._is_writing = False

    def begin_attempt(self, number: int) -> None:
        """Forget the steps of the attempt before."""
        self._step, self._place, self._done = None, Cursor(number, 0), 0

    def begin_step(self, name: str) -> None:
        """Show that a step has begun."""
        is_folded = self._folds and name != _WHOLE
        self._step = RunningStep(name, time.monotonic(), self._place, is_folded)
        if not is_folded:
            self.say(step_title(name))

    async def end_step(self, event: Event) -> None:
        """Show that a step has ended, or was left out."""
        step, self._step = self._step, None
        name, status, reason = event["name"], event["status"], event.get("reason")
        if step is None or not step.is_folded or step.name != name:
            self._say_end(name, status, event.get("exit_code"), reason)
            return
        self._done += 1
        took = span(time.monotonic() - step.begun)
        if status == "failed":
            await self._write_out(step)
            why = f"exit code {event.get('exit_code')}" + (f": {reason}" if reason else "")
            self._mark("✗", "x", _RED, name, f"{took:>9}  {why}")
        else:
            last = next((line for line in reversed(step.last_lines()) if line.strip()), "")
            self._mark("✓", "+", _GREEN, name, f"{took:>9}", last.strip())

    def _say_end(self, name: str, status: str, exit_code: int | None, reason: object) -> None:
        if status == "failed":
            because = f": {reason}" if reason else ""
            self.say(f"{step_title(name)} failed with exit code {exit_code}{because}")
        elif status == "skipped" and self._folds:
            self.clear()
            self._mark("-", "-", _YELLOW, name, f"left out: {reason}")
        elif status == "skipped":
            self.say(f"{step_title(name)} was left out: {reason}")

    async def end(self) -> None:
        """Show what is still hidden: the output of a step that the end of the job has ended."""
        step, self._step = self._step, None
        if step is not None and step.is_folded:
            await self._write_out(step)
        self.clear()
        await self._output.end()

    async def _write_out(self, step: RunningStep) -> None:
        if step.start.attempt != self._place.attempt or step.start >= self._place:
            return
        try:
            async with aclosing(self._read_log(step.start.attempt, step.start.offset, self._place.offset)) as chunks:
                async for chunk in chunks:
                    await self._write(chunk)
        except (ServerError, ServerUnreachable, ConnectionBroken) as exc:
            self.say(f"the output of {step_title(step.name)} cannot be read again: {exc}", problem=True)
        self._output.finish_line()

    def _mark(self, sign: str, plain: str, style: str, name: str, text: str, remark: str = "") -> None:
        self.clear()
        self._output.finish_line()
        columns = self._live.columns if self._live is not None else 80
        name = fitting(name, columns // 2)
        padded = name + " " * max(0, _NAME_CELLS - cells(name))
        sign = sign if has_unicode() else plain
        left = columns - cells(f"{sign} {padded} {text}  ")
        remark = fitting(remark, left) if remark and left > 10 else ""
        shown = fitting(text, columns - cells(f"{sign} {padded} "))
        say_raw(f"{styled(sign, style)} {padded} {shown}  {styled(remark, _DIM)}".rstrip() + "\n")

    def _rows(self) -> list[Row]:
        sign = spinner(self._turn)
        step = self._step
        if self._waits_for:
            return [Row(f"{sign} {self._waits_for}  {span(time.monotonic() - self._begun)}", _DIM)]
        if step is None:
            return [Row(f"{sign} running", _DIM)]
        elapsed = time.monotonic() - step.begun
        usual = self.usual.get(step.name)
        expected = f" of about {span(usual)}" if usual is not None and usual >= 1 else ""
        rows = [Row(f"  {line}", _DIM) for line in step.last_lines()] if step.is_folded else []
        return [*rows, Row(f"{sign} {step_title(step.name)}  {span(elapsed)}{expected}", "36")]

    def say(self, message: str, *, problem: bool = False) -> None:
        """Say something about the job, on a line of its own."""
        self.clear()
        self._output.finish_line()
        say(message, problem=problem)
