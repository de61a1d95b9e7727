"""What the command line makes of errors that were not foreseen, and of wrong input that was."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ci_cli.announcement import state_directory
from ci_cli.commands import jobs
from ci_cli.main import cli, run_cli
from ci_client.packing import archive as packing
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer

BAD = os.fsdecode(b"caf\xff")


def ci_process(*args: str | bytes | Path, **kwargs: object) -> "subprocess.CompletedProcess[str]":
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "ci_cli", *args], **{"text": True, "check": False, **outputs, **kwargs}
    )


@pytest.mark.parametrize("error", [KeyError("x"), ExceptionGroup("g", [RuntimeError("\x1b[2J")]), RecursionError()])
def test_any_error_becomes_a_report(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **kwargs: object) -> int:
        raise error

    monkeypatch.setattr(cli.commands["status"], "callback", fail)
    assert run_cli(["status", "a-secret-argument"]) == 70
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "\x1b" not in told
    assert "file an issue" in told
    found = re.search(r"report ([0-9a-f]{8}),.*: (/\S+\.txt)", told)
    assert found is not None
    path = Path(found[2])
    assert path.parent.parent == state_directory()
    assert (path.stem, stat.S_IMODE(path.stat().st_mode)) == (found[1], 0o600)
    text = path.read_text()
    assert "Traceback" in text
    assert "command: ci status\n" in text
    assert "a-secret-argument" not in text


def test_a_traceback_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.commands["status"], "callback", lambda **_: 1 / 0)
    monkeypatch.setenv("CI_DEBUG", "1")
    assert run_cli(["status", "x"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_reports_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.commands["status"], "callback", lambda **_: 1 / 0)
    for _ in range(60):
        run_cli(["status", "x"])
    assert len(list((state_directory() / "reports").iterdir())) == 50


def test_no_place_for_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(cli.commands["status"], "callback", lambda **_: 1 / 0)
    assert run_cli(["status", "x"]) == 70
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "could not be saved" in told


@pytest.mark.parametrize(
    "args",
    [
        ["exec", "x", "--", "printf", BAD],
        ["exec", "-e", f"X={BAD}", "x", "--", "true"],
        ["exec", "-e", f"{BAD}=x", "x", "--", "true"],
        ["exec", "-e", "FROM_HERE", "x", "--", "true"],
        ["exec", BAD, "--", "true"],
        ["exec", "--project", BAD, "x", "--", "true"],
        ["exec", "--label", f"a={BAD}", "x", "--", "true"],
        ["run", "--image", BAD],
        ["run", "--", BAD],
        ["list", "--search", BAD],
        ["list", "--project", BAD],
        ["list", "--label", f"{BAD}=x"],
        ["list", "--server", f"http://{BAD}"],
        ["status", BAD],
        ["logs", BAD],
        ["wait", BAD],
        ["cancel", BAD],
        ["retry", BAD],
        ["delete", "aaaa", BAD],
        ["cleanup", "--older-than", BAD],
        ["run", BAD],
        ["restore", BAD],
        [BAD],
        ["status", f"--{BAD}"],
    ],
    ids=lambda args: " ".join(args).encode("ascii", "replace").decode(),
)
def test_arguments_that_are_no_text(
    args: list[str], server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI_SERVER_URL", server.url)
    monkeypatch.setenv("FROM_HERE", BAD)
    assert run_cli(args) == 64
    told = capsys.readouterr().err
    assert r"\xff" in told or "FROM_HERE" in told or "caf\ufffd" in told
    assert told.count("ci: ") == 1


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.symlink_to("a"), "leads back to itself"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nowhere, which does not exist"),
        (lambda path: path.touch(), "neither a directory nor a .zip file"),
        (os.mkfifo, "neither a directory nor a .zip file"),
        (lambda path: None, "does not exist"),
    ],
)
def test_paths_that_are_no_project(
    make: "object", what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a")  # type: ignore[operator]
    assert run_cli(["run", str(tmp_path / "a")]) == 64
    assert what in capsys.readouterr().err


@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000, "f/x"])
def test_paths_that_cannot_be(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").touch()
    assert run_cli(["run", path]) == 64
    assert path[:50] in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        *("http://[", "http://[::1", "http://x:99999", "http://x:y", "http://", "unix:", "ftp://x", "http://x:0"),
        *("http://x?a=b", "http://x/#a"),
    ],
)
def test_what_is_no_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", "--server", url]) == 69
    assert "is not a server's URL; write http" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "submit", "backup", "restore"])
def test_an_empty_path_is_not_the_current_directory(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli([command, ""]) == 64
    assert "it is empty" in capsys.readouterr().err


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = ci_process("run", cwd=gone, preexec_fn=lambda: os.rmdir(gone), env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode in (64, 70)
    assert "Traceback" not in done.stderr


def test_a_link_in_a_circle_is_sent(server: ScriptedServer, project: Path) -> None:
    (project / "a").symlink_to("a")
    server.next_job = ScriptedJob(b"")
    assert run_cli(["run", str(project), "--server", server.url]) == 0


def test_a_full_disk_while_packing(
    server: ScriptedServer, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "r+b", buffering=0) as full:
        monkeypatch.setattr(packing.tempfile, "TemporaryFile", lambda **_: full)
        assert run_cli(["run", str(project), "--server", server.url]) == 70
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "TMPDIR" in told


@pytest.mark.parametrize(
    "command", [["settings"], ["settings", "--json"], ["--help"], ["list", "--help"], ["--version"]]
)
def test_standard_output_that_takes_nothing(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = ci_process(*command, stdout=full)
    assert (done.returncode, done.stderr) == (70, done.stderr)
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = ci_process(*command, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_standard_output(server: ScriptedServer) -> None:
    done = ci_process("list", "--server", server.url, stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 141
    assert "standard output is closed" in done.stderr


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_no_home_directory(home: str | None, monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("os.path.expanduser", lambda path: home or path)  # As for a user who is in no list.
    assert run_cli(["list"]) == 70
    assert run_cli(["list", "--server", server.url]) == 0


def test_every_result_goes_through_the_doors() -> None:
    """Nothing but `console` writes to the outputs, so nothing can go past what it escapes."""
    root = Path(jobs.__file__).parents[1]
    others = [path for path in root.rglob("*.py") if path.name != "console.py"]
    pattern = re.compile(r"click\.echo\((?!\"\\nci: interrupted)|sys\.stdout\.(write|buffer)")
    assert [str(path) for path in others if pattern.search(path.read_text())] == []


def test_errors_that_no_code_can_catch_show_no_traceback() -> None:
    code = """
import asyncio, gc, sys
from ci_cli import main
from ci_cli.interrupts import run_command

class Fragile:
    def __del__(self):
        raise RuntimeError("of a finalizer")

async def fail():
    raise RuntimeError("of a task")

async def work(_):
    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    del task
    Fragile()
    gc.collect()
    return 7

main.run_cli = lambda _: run_command(work)
main.main()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 7
    assert "Traceback" not in done.stderr
    assert "report " in done.stderr
    kept = "".join(path.read_text() for path in (state_directory() / "reports").iterdir())
    assert "of a task" in kept
    assert "of a finalizer" in kept


def test_what_the_machine_refuses_is_no_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> int:
        raise PermissionError(13, "Permission denied", "/a/place\x1b")

    monkeypatch.setattr(cli.commands["status"], "callback", fail)
    assert run_cli(["status", "x"]) == 70
    assert r"Permission denied (/a/place\x1b)" in capsys.readouterr().err
    assert not (state_directory() / "reports").exists()
