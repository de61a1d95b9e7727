"""Unexpected errors: a report in a file, and a message that names the file."""

import logging
import os
import platform
import secrets
import sys
import traceback
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from ci_cli.announcement import make_state_directory
from ci_client.errors import StateUnavailable
from ci_client.escapes import visible
from ci_common.system.reporting import LineFormatter

DEBUG_VARIABLE = "CI_DEBUG"
_HINT = f"{DEBUG_VARIABLE}=1 shows the traceback here"
_MOST_REPORTS = 50


def report(error: BaseException, command: str) -> list[str]:
    """Save a report of the error, and return the lines to show: the error, the report's id and path, how to file it.

    `command` is the command's name without its arguments, which may be secrets.
    """
    what = "".join(traceback.format_exception_only(error)).strip().splitlines()
    lines = [f"an error of ours: {what[0] if what else type(error).__name__}", save_report(error, command)]
    if is_debugging():
        sys.stderr.write("".join(traceback.format_exception(error)))
    return [*lines, f"please file an issue at ci-server's project with that report, and say what you did; {_HINT}"]


def save_report(error: BaseException, command: str) -> str:
    """Save a report of the error, and return a line with its id and path."""
    report_id = secrets.token_hex(4)
    try:
        return f"report {report_id}, with the traceback: {_write(report_id, _text(error, command, report_id))}"
    except (OSError, StateUnavailable) as exc:
        return f"report {report_id} could not be saved: {exc}"


def hide_tracebacks() -> None:
    """Save reports in place of the tracebacks that asyncio logs, for example of a task that nothing awaits."""
    if is_debugging():
        return

    def saved(error: BaseException) -> str:
        return f"ci: {visible(save_report(error, 'beside the command'))}"

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("ci: %(message)s", saved))


def is_debugging() -> bool:
    """Return whether tracebacks are to be shown on the terminal."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _write(report_id: str, text: str) -> Path:
    directory = make_state_directory() / "reports"
    directory.mkdir(mode=0o700, exist_ok=True)
    for old in sorted(directory.glob("*.txt"), key=os.path.getmtime)[: -_MOST_REPORTS + 1]:
        old.unlink(missing_ok=True)
    path = directory / f"{report_id}.txt"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return path


def _text(error: BaseException, command: str, report_id: str) -> str:
    about = {
        "report": report_id,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "ci-server": _version(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "encodings": f"{sys.getfilesystemencoding()}, {getattr(sys.stdout, 'encoding', None)}",
    }
    head = "".join(f"{name}: {value}\n" for name, value in about.items())
    return head + "\n" + "".join(traceback.format_exception(error))


def _version() -> str:
    try:
        return metadata.version("ci-server")
    except metadata.PackageNotFoundError:
        return "not installed"
