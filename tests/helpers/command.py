"""The command `ci` against a scripted server, in this process or in one of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci_cli.main import run_cli
from tests.helpers.scripted_server import ScriptedServer

LOG = b"caf\xe9 \xff\x00\n" + "ünïcödé 🥊\r\n".encode() * 3 + b"no newline at the end"
"""Bytes that are no text, text that is no ASCII, and an end without a newline."""


def ci(server: ScriptedServer, *args: str | Path) -> int:
    command, *rest = map(str, args)
    return run_cli([command, "--server", server.url, *rest])


@contextmanager
def started(server: ScriptedServer, *args: str | Path, **kwargs: object) -> Iterator[subprocess.Popen[bytes]]:
    command, *rest = map(str, args)
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_cli.main", command, "--server", server.url, *rest],
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs},  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
