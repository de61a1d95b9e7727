"""What server and controller say about themselves, on standard error."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
ROOMS = ("ci_cli", "ci_client", "ci_common", "ci_controller", "ci_persistence", "ci_selftest", "ci_server")


def log_to_stderr(
    level: str,
    *,
    form: str = "%(asctime)s %(levelname)s %(name)s: %(message)s",
    instead_of_traceback: Callable[[BaseException], str] | None = None,
) -> None:
    """Write log lines to standard error: our own from `level` on, those of libraries from warnings on.

    `instead_of_traceback` turns an error that comes with a line into the text that follows it.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # No line tells of these.
    handler = _Together()
    handler.setFormatter(LineFormatter(form, instead_of_traceback))
    logging.basicConfig(handlers=[handler])
    for room in ROOMS:
        logging.getLogger(room).setLevel(level.upper())


class _Together(logging.Handler):
    """Writes what is said within one turn of an event loop by one call; what is urgent, or said elsewhere, at once."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(f"{self.format(record)}\n")
            if record.levelno >= logging.WARNING or not self._is_put_off():
                self.flush()
        except Exception:
            self.handleError(record)

    def _is_put_off(self) -> bool:
        """Tell whether the lines will be written at the end of the event loop's turn."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if len(self._lines) == 1:
            loop.call_soon(self.flush)
        return True

    def flush(self) -> None:
        """Write all lines there are. Called by `logging` at the end of the process, too."""
        with self.lock or contextlib.nullcontext():
            lines, self._lines = self._lines, []
            if lines:
                sys.stderr.write("".join(lines))
                sys.stderr.flush()


class LineFormatter(logging.Formatter):
    """Writes times as `logging` does, working out each second once, and something else than tracebacks, if asked."""

    _second = (0, "")

    def __init__(self, form: str, instead_of_traceback: Callable[[BaseException], str] | None = None) -> None:
        super().__init__(form)
        self._instead_of_traceback = instead_of_traceback

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802
        if self._instead_of_traceback is None or ei[1] is None:
            return super().formatException(ei)
        return self._instead_of_traceback(ei[1])

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        second = int(record.created)
        if second != self._second[0]:
            self._second = (second, time.strftime(self.default_time_format, self.converter(second)))
        return f"{self._second[1]},{int(record.msecs):03d}"
