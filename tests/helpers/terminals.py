"""`ci` as people run it: each command a process of its own, its outputs read line by line."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.installation import ROOT
from tests.helpers.scripted_server import wait_until
from tests.helpers.waiting import PATIENCE

Terminal = subprocess.Popen[bytes]
Start = Callable[..., Terminal]


@contextmanager
def terminals(environment: Mapping[str, str]) -> Iterator[Start]:
    """Give a function that starts `ci`: `start(*arguments, **settings)`. What still runs at the end is ended."""
    started: list[Terminal] = []

    def start(*args: str | Path, **settings: str) -> Terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "ci_cli", *map(str, args)],
            env={**os.environ, **environment, **settings, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # What has been read ahead would be lost to communicate().
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=PATIENCE)


def ended(process: Terminal) -> tuple[int, bytes, str]:
    """Return a command's exit status and what is left of its outputs, once it has ended. No output has a traceback."""
    out, err = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out, err.decode()


def next_line(process: Terminal) -> bytes:
    """Return the next line of a command's standard output."""
    assert process.stdout is not None
    return process.stdout.readline()


def said(process: Terminal, text: str) -> str:
    """Return the line of a command's standard error that has `text` in it, once it is there."""
    assert process.stderr is not None
    lines = process.stderr
    found = b""

    def look() -> bool:
        nonlocal found
        found = lines.readline()
        assert found, f"standard error ended without {text!r}"
        return text.encode() in found

    wait_until(look)
    return found.decode()


def interrupt(process: Terminal) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)
