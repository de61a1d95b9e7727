"""Logging of server and controller, to standard error."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, TextIO

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
GATHERING_SECONDS: Final = 0.01
_MOST_GATHERED: Final = 256
PACKAGES = ("ci_cli", "ci_client", "ci_common", "ci_controller", "ci_persistence", "ci_selftest", "ci_server")


def log_to_stderr(
    level: str,
    *,
    form: str = "%(asctime)s %(levelname)s %(name)s: %(message)s",
    instead_of_traceback: Callable[[BaseException], str] | None = None,
) -> None:
    """Write log lines to standard error: our own from `level` on, those of libraries from WARNING on.

    `instead_of_traceback` returns the text that is written instead of the traceback of an error.
    """
    # `form` uses none of these, and each request has a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    setattr(logging, "_srcfile", None)  # noqa: B010  # as the documentation of logging says, for no look at the callers
    handler = GatheringHandler()
    handler.setFormatter(LineFormatter(form, instead_of_traceback))
    logging.basicConfig(handlers=[handler])
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level.upper())


def log_line(logger: logging.Logger, text: str) -> None:
    """Log a line at the level INFO: as `Logger.info` does, in half the time where only `log_to_stderr` listens."""
    if not logger.isEnabledFor(logging.INFO):
        return
    handler = _only_handler(logger)
    if handler is None:
        logger.info("%s", text)
    else:
        handler.write_line(logger.name, text)


def _only_handler(logger: logging.Logger) -> "GatheringHandler | None":
    """Return the one handler that gets what this logger says; None where there are others."""
    handlers = logger.handlers.copy()
    while logger.propagate and logger.parent is not None:
        logger = logger.parent
        handlers += logger.handlers
    return handlers[0] if len(handlers) == 1 and isinstance(handlers[0], GatheringHandler) else None


class GatheringHandler(logging.StreamHandler[TextIO]):
    """Writes lines to standard error, in their order: those of warnings at once, others of an event loop together.

    Those wait for GATHERING_SECONDS at most. Each request has a line, and to write one alone costs more than to make
    it: the program that reads the lines is woken each time. A process that is killed loses lines that still wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that will write the lines; None while it need not."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._add(self.format(record), is_urgent=record.levelno >= logging.WARNING)
        except RecursionError:  # As the base class has it.
            raise
        except Exception:
            self.handleError(record)

    def write_line(self, name: str, text: str) -> None:
        """Write a line at the level INFO, as a logger with this name would."""
        if not isinstance(self.formatter, LineFormatter) or self.filters or self.level > logging.INFO:
            logging.getLogger(name).info("%s", text)
            return
        self.acquire()
        try:
            self._add(self.formatter.line(time.time(), "INFO", name, text))
        finally:
            self.release()

    def _add(self, line: str, *, is_urgent: bool = False) -> None:
        self._lines.append(line)
        if is_urgent or len(self._lines) >= _MOST_GATHERED or not self._is_awaited():
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait; also at the end of the process."""
        self.acquire()
        try:
            if self._lines:
                text = self.terminator.join([*self._lines, ""])
                self._lines.clear()
                self.stream.write(text)
            super().flush()
        finally:
            self.release()

    def _is_awaited(self) -> bool:
        """Return whether the lines are going to be written by the running loop, if there is one."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._loop is not running:  # One that has ended writes nothing any more.
            self._loop = running
            running.call_later(GATHERING_SECONDS, self._write_gathered)
        return True

    def _write_gathered(self) -> None:
        self._loop = None
        with suppress(OSError, ValueError):  # Standard error is closed, so there is no place to say so.
            self.flush()


class LineFormatter(logging.Formatter):
    """Formats log lines, with another text instead of tracebacks if requested."""

    def __init__(self, form: str, instead_of_traceback: Callable[[BaseException], str] | None = None) -> None:
        super().__init__(form)
        self._form = form
        self._instead_of_traceback = instead_of_traceback
        self._second = 0, ""
        """The last second that was written, and how."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        if datefmt is not None:
            return super().formatTime(record, datefmt)
        return self._written_time(record.created, record.msecs)

    def line(self, created: float, level: str, name: str, message: str) -> str:
        """Return the line of a record with these parts."""
        asctime = self._written_time(created, created % 1 * 1000)
        form: str = self._form
        return form % {"asctime": asctime, "levelname": level, "name": name, "message": message}

    def _written_time(self, created: float, msecs: float) -> str:
        second = int(created)
        if self._second[0] != second:
            self._second = second, time.strftime(self.default_time_format, self.converter(second))
        return f"{self._second[1]},{int(msecs):03d}"

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802
        if self._instead_of_traceback is None or ei[1] is None:
            return super().formatException(ei)
        return self._instead_of_traceback(ei[1])
