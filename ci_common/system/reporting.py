"""Logging of server and controller, to standard error."""

import logging
from collections.abc import Callable
from types import TracebackType

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
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
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # `form` uses none of these.
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(form, instead_of_traceback))
    logging.basicConfig(handlers=[handler])
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level.upper())


class LineFormatter(logging.Formatter):
    """Formats log lines, with another text instead of tracebacks if requested."""

    def __init__(self, form: str, instead_of_traceback: Callable[[BaseException], str] | None = None) -> None:
        super().__init__(form)
        self._instead_of_traceback = instead_of_traceback

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802
        if self._instead_of_traceback is None or ei[1] is None:
            return super().formatException(ei)
        return self._instead_of_traceback(ei[1])
