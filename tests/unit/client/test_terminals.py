"""Terminals and pipes: the first get what is safe to show, the others exact bytes."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.service import ci, started
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.slow

EVIL = "x\x1b]52;c;aGk=\a\r\n\x9b2J\u202eci: all tests passed"
WRITTEN_OUT = r"x\x1b]52;c;aGk=\x07\r\n\x9b2J\u202eci: all tests passed"
LOG = b"\x1b[31mred\x1b]0;title\x07 \x1b[2Jtext\xff\x1b]52;c;aGk=\x07\n"
SHOWN = "\x1b[31mred text\ufffd\n".encode()


def on_terminal(server: ScriptedServer, *args: str | Path, columns: int = 80) -> bytes:
    """Return all that a command writes to a terminal, which is both of its outputs."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    modes = termios.tcgetattr(slave)
    modes[1] &= ~termios.OPOST  # Line ends as they are written.
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    shown = b""
    with started(server, *args, stdout=slave, stderr=slave) as process:
        os.close(slave)
        try:
            while chunk := os.read(master, 65_536):
                shown += chunk
        except OSError:
            pass  # What a terminal says at its end.
        process.wait(PATIENCE)
    os.close(master)
    return shown


@pytest.mark.parametrize("command", [["logs"], ["logs", "--follow"], ["wait", "--all"]])
def test_a_log_on_a_terminal(server: ScriptedServer, command: list[str]) -> None:
    job = server.add(ScriptedJob(LOG * 3, chunk=7))
    shown = on_terminal(server, *command, job.job_id)
    assert SHOWN * 3 + b"\x1b[0m" in shown
    raw = on_terminal(server, *command, "--raw", job.job_id)
    assert LOG * 3 in raw


def test_a_log_that_is_run_on_a_terminal(server: ScriptedServer, project: Path) -> None:
    server.next_job = ScriptedJob(LOG, chunk=5)
    shown = on_terminal(server, "run", project)
    assert SHOWN in shown
    assert b"\x1b]" not in shown
    server.next_job = ScriptedJob(LOG, chunk=5)
    assert LOG in on_terminal(server, "run", project, "--raw")


@pytest.mark.parametrize("command", [["logs"], ["logs", "--raw"], ["logs", "--follow"], ["wait", "--all"]])
def test_a_log_in_a_pipe_is_exact(server: ScriptedServer, command: list[str]) -> None:
    job = server.add(ScriptedJob(LOG * 3, chunk=7))
    with started(server, *command, job.job_id) as process:
        assert process.communicate(timeout=PATIENCE)[0] == LOG * 3


def evil_job(server: ScriptedServer) -> ScriptedJob:
    steps = [{"type": "step", "name": EVIL, "status": "running"}]
    steps += [{"type": "step", "name": EVIL, "status": "failed", "exit_code": 1, "start_time": None}]
    return server.add(
        ScriptedJob(
            b"",
            steps=[(0, step) for step in steps],
            conclusion="errored",
            reason={"code": "x", "message": EVIL},
            project=EVIL,
            labels={"k": EVIL},
            image=EVIL,
        )
    )


@pytest.mark.parametrize(
    "command", [["list"], ["status", "JOB"], ["wait", "--all", "JOB"], ["status", "--json", "JOB"]]
)
@pytest.mark.parametrize("terminal", [True, False])
def test_names_are_written_out(server: ScriptedServer, command: list[str], terminal: bool) -> None:
    job = evil_job(server)
    args = [job.job_id if arg == "JOB" else arg for arg in command]
    if terminal:
        shown = on_terminal(server, *args)
    else:
        with started(server, *args) as process:
            shown = b"".join(process.communicate(timeout=PATIENCE))
    text = re.sub("\x1b\\[[0-9]*m", "", shown.decode()).replace("\n", "")
    assert text.isprintable(), text
    assert WRITTEN_OUT in text or "--json" in args


def test_file_names_and_answers_of_servers_are_written_out(server: ScriptedServer, tmp_path: Path) -> None:
    tree = tmp_path / f"evil{EVIL}"
    tree.mkdir()
    os.mkfifo(tree / EVIL)
    (tree / "f").touch()
    with started(server, "run", tree) as process:
        err = process.communicate(timeout=PATIENCE)[1].decode()
    assert err.startswith(f"ci: {WRITTEN_OUT} is a socket")
    assert err.replace("\n", "").isprintable()
    with started(server, "run", tree / EVIL / "f") as process:
        err = process.communicate(timeout=PATIENCE)[1].decode()
    assert err.replace("\n", "").isprintable()
    assert WRITTEN_OUT in err


@pytest.mark.parametrize("columns", [0, 1, 20])
def test_narrow_terminals(server: ScriptedServer, project: Path, columns: int) -> None:
    server.next_job = ScriptedJob(b"x\n")
    assert b"Traceback" not in on_terminal(server, "run", project, columns=columns)
    assert b"Usage" in on_terminal(server, "run", "--help", columns=columns)


@pytest.mark.parametrize("settings", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "de_DE.ISO-8859-1"}])
def test_poor_encodings(server: ScriptedServer, settings: dict[str, str]) -> None:
    server.add(ScriptedJob(b"", project="ünï 中文 🥊"))
    done = subprocess.run(
        [sys.executable, "-m", "ci_cli", "list", "--server", server.url],
        env={**os.environ, **settings},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"PROJECT" in done.stdout


def test_a_job_without_a_container(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    job = server.add(ScriptedJob(b"", runtime="process", start_way="cold", image="python:3.12-slim"))
    assert ci(server, "status", job.job_id) == 0
    shown = capsys.readouterr().out
    assert "as a process, without a container" in shown
    assert "python:3.12-slim" not in shown
    assert "cold" not in shown
    assert ci(server, "list") == 0
    assert "python:3.12-slim" not in capsys.readouterr().out


def test_a_job_with_a_container(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    job = server.add(ScriptedJob(b"", runtime="docker", start_way="cold", image="python:3.12-slim"))
    assert ci(server, "status", job.job_id) == 0
    shown = capsys.readouterr().out
    assert "cold, in a container made for it" in shown
    assert "python:3.12-slim" in shown
