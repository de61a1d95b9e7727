"""Commands on a terminal, and what it shows."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pyte

from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.waiting import PATIENCE


def on_terminal(server: ScriptedServer, *args: str | Path, columns: int = 80) -> bytes:
    """Return all that a command writes to a terminal, which is both of its outputs."""
    command, *rest = map(str, args)
    words = [sys.executable, "-m", "ci_cli.main", command, "--server", server.url, *rest]
    return shown_on_terminal(words, columns=columns)


def shown_on_terminal(words: list[str], *, columns: int) -> bytes:
    """Return all that a program writes to a terminal."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    modes = termios.tcgetattr(slave)
    modes[1] &= ~termios.OPOST  # Line ends as they are written.
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    shown = b""
    # The library readline exports COLUMNS past `os.environ`, where pytest imports it.
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        try:
            while chunk := os.read(master, 65_536):
                shown += chunk
        except OSError:
            pass  # What a terminal says at its end.
        process.wait(PATIENCE)
    os.close(master)
    return shown


def screen(shown: bytes, columns: int) -> str:
    """Return what a terminal shows at last."""
    terminal = pyte.Screen(columns, 60)
    pyte.ByteStream(terminal).feed(shown.replace(b"\n", b"\r\n"))
    return "\n".join(line.rstrip() for line in terminal.display).strip()
