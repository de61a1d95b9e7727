"""Terminals and pipes: the first get what is safe to show, the others exact bytes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.service import ci, started
from tests.helpers.terminals import on_terminal, screen, shown_on_terminal
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.slow

EVIL = "x\x1b]52;c;aGk=\a\r\n\x9b2J\u202eci: all tests passed"
WRITTEN_OUT = r"x\x1b]52;c;aGk=\x07\r\n\x9b2J\u202eci: all tests passed"
LOG = b"\x1b[31mred\x1b]0;title\x07 \x1b[2Jtext\xff\x1b]52;c;aGk=\x07\n"
SHOWN = "\x1b[31mred text\ufffd\n".encode()


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
        shown = on_terminal(server, *args, columns=400)
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
    assert "type:" not in shown
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


STEPS: list[tuple[int, dict[str, object]]] = [
    (0, {"type": "step", "name": "install", "status": "running"}),
    (21, {"type": "step", "name": "install", "status": "succeeded", "exit_code": 0}),
    (21, {"type": "step", "name": "test", "status": "running"}),
    (48, {"type": "step", "name": "test", "status": "failed", "exit_code": 3}),
]
STEP_LOG = b"Collecting\nInstalled\n" + b"FAILED a.py::b - assert 1\n\n"


def folded_job(conclusion: str = "failed") -> ScriptedJob:
    steps = STEPS if conclusion == "failed" else STEPS[:3]
    return ScriptedJob(STEP_LOG, steps=steps, conclusion=conclusion, exit_code=3 if conclusion == "failed" else None)


@pytest.mark.parametrize("columns", [40, 100])
def test_steps_fold_once_they_have_succeeded(server: ScriptedServer, columns: int) -> None:
    job = server.add(folded_job())
    shown = screen(on_terminal(server, "wait", "--all", job.job_id, columns=columns), columns)
    assert re.search(r"^✓ install +[0-9.]+ s(  Installed)?$", shown, re.MULTILINE), shown
    assert "Collecting" not in shown
    assert re.search(r"^FAILED a.py::b - assert 1$\n\n✗ test +[0-9.]+ s  exit code 3", shown, re.MULTILINE), shown
    assert "ci: from its log:\nci:   FAILED a.py::b - assert 1\n" in shown
    verbose = screen(on_terminal(server, "wait", "--all", "--verbose", job.job_id, columns=columns), columns)
    assert "Collecting\nInstalled\n" in verbose
    assert "✓" not in verbose


@pytest.mark.parametrize("conclusion", ["timed_out", "cancelled", "errored"])
def test_what_the_end_of_the_job_cuts_off_is_not_hidden(server: ScriptedServer, conclusion: str) -> None:
    job = server.add(folded_job(conclusion))
    shown = screen(on_terminal(server, "wait", "--all", job.job_id), 80)
    assert "FAILED a.py::b - assert 1" in shown
    assert "Collecting" not in shown


@pytest.mark.parametrize(
    ("given", "options", "coloured"),
    [({}, [], True), ({"NO_COLOR": "1"}, [], False), ({"NO_COLOR": "1"}, ["--color", "always"], True),
     ({}, ["--color", "never"], False), ({"TERM": "dumb"}, [], False)],
)  # fmt: skip
def test_colours(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], options: list[str], coloured: bool
) -> None:
    for name, value in ({"TERM": "xterm"} | given).items():
        monkeypatch.setenv(name, value)
    job = server.add(ScriptedJob(b"\x1b[31mred\x1b[0m\n"))
    shown = on_terminal(server, "logs", job.job_id, *options)
    assert shown == (b"\x1b[31mred\x1b[0m\n" if coloured else b"red\n")


def test_a_pipe_gets_colours_only_as_they_are(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"\x1b[31mred\x1b[0m\n"))
    for options, expected in ([], job.log), (["--color", "never"], b"red\n"):
        with started(server, "logs", job.job_id, *options) as process:
            assert process.communicate(timeout=PATIENCE)[0] == expected


COLOURS = [
    ({}, [], True),
    ({"NO_COLOR": "1"}, [], False),
    ({"NO_COLOR": "1"}, ["--color", "always"], True),
    ({}, ["--color", "never"], False),
    ({"TERM": "dumb"}, [], False),
]


@pytest.mark.parametrize("command", ["run", "list", "status"])
@pytest.mark.parametrize(("given", "options", "coloured"), COLOURS)
def test_colours_of_commands(
    server: ScriptedServer,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    given: dict[str, str],
    options: list[str],
    coloured: bool,
) -> None:
    for name, value in ({"TERM": "xterm"} | given).items():
        monkeypatch.setenv(name, value)
    server.next_job = server.add(folded_job())
    what = {"run": [project], "list": [], "status": [server.next_job.job_id]}[command]
    shown = on_terminal(server, command, *options, *what)
    assert (re.search(rb"\x1b\[[0-9;]*3[1-7]m", shown) is not None) is coloured
    assert b"failed" in shown


@pytest.mark.parametrize("command", ["list", "status"])
def test_a_pipe_gets_colours_only_if_asked(server: ScriptedServer, command: str) -> None:
    job = server.add(ScriptedJob(b""))
    for options, expected in ([], False), (["--color", "always"], True):
        with started(server, command, *options, *([job.job_id] if command == "status" else [])) as process:
            shown = process.communicate(timeout=PATIENCE)[0]
        assert (re.search(rb"\x1b\[32m(completed, )?succeeded\x1b\[0m", shown) is not None) is expected
        assert (b"\x1b" in shown) is expected


def test_a_table_on_a_narrow_terminal(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"", project="a-project-with-a-long-name", image="registry.example.org/python:3.12"))
    shown = screen(on_terminal(server, "list", columns=60), 60)
    head, line = shown.splitlines()
    assert head.split()[:2] == ["JOB", "STATUS"]
    assert line.startswith(f"{job.job_id[:13]}  succeeded")
    with started(server, "list") as process:
        assert f"{job.job_id}  succeeded" in process.communicate(timeout=PATIENCE)[0].decode()


def test_an_upload_has_a_bar(tmp_path: Path) -> None:
    """The bar is drawn by the command itself, as fast as a terminal can follow, and gone in the end."""
    code = """
import time
from ci_cli.console import Progress, say
with Progress() as progress:
    for part in range(5):
        time.sleep(0.12)
        progress.show(f"sending: {part} MiB of 4 MiB", part / 4)
    time.sleep(0.12)
say("sent 4 MiB")
"""
    shown = shown_on_terminal([sys.executable, "-c", code], columns=80)
    bars = [line for line in shown.decode().split("\r\x1b[K") if "sending" in line]
    assert bars[0].startswith("░" * 24 + "   0%  sending: 0 MiB"), bars
    assert bars[2].startswith("█" * 12 + "░" * 12 + "  50%  sending: 2 MiB"), bars
    assert screen(shown, 80) == "ci: sent 4 MiB"
    narrow = shown_on_terminal([sys.executable, "-c", code], columns=40)
    assert "█" not in narrow.decode()
    assert screen(narrow, 40) == "ci: sent 4 MiB"
