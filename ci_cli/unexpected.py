"""What becomes of an error that was not foreseen: a report in a file, and a message that says where it is."""

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
    """Keep a report of the error, and return what to tell: the error, the report's id and place, and how to file it.

    `command` names the command alone: its arguments may be secrets.
    """
    what = "".join(traceback.format_exception_only(error)).strip().splitlines()
    lines = [f"an error of ours: {what[0] if what else type(error).__name__}", keep(error, command)]
    if is_debugging():
        sys.stderr.write("".join(traceback.format_exception(error)))
    return [*lines, f"please file an issue with that report where ci-server comes from, and say what you did; {_HINT}"]


def keep(error: BaseException, command: str) -> str:
    """Keep a report of the error, and return its id and place as a line."""
    report_id = secrets.token_hex(4)
    try:
        return f"report {report_id}, with the traceback: {_keep(report_id, _text(error, command, report_id))}"
    except (OSError, StateUnavailable) as exc:
        return f"report {report_id} could not be kept: {exc}"


def spare_the_terminal() -> None:
    """Keep reports instead of the tracebacks that asyncio logs, as of a task that nothing waits for."""
    if is_debugging():
        return

    def kept(error: BaseException) -> str:
        return f"ci: {visible(keep(error, 'beside the command'))}"

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("ci: %(message)s", kept))


def is_debugging() -> bool:
    """Tell whether tracebacks are wanted on the terminal."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _keep(report_id: str, text: str) -> Path:
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
