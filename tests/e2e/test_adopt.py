"""`ci adopt`, and what is said where a database does not belong to the data directory."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.installation import ROOT
from tests.helpers.waiting import PATIENCE

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ci(tmp_path: Path) -> Command:
    def run(*args: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        given = {"CI_DB_PATH": str(tmp_path / "ci_jobs.db"), "CI_RUNTIME": "process", "PORT": "0"}
        environment = {**os.environ, **given, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "ci_cli", *args], env=environment | settings, cwd=tmp_path,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return run


def finish_a_job(ci: Command, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "file").touch()
    done = ci("run", str(tmp_path / "project"), "--", "true")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "more"), [("serve", {}), ("serve", {"CI_CONTROLLER": "off"}), ("controller", {}), ("list", {})]
)
def test_a_wrong_data_directory_is_refused_as_a_wrong_setting(
    ci: Command, tmp_path: Path, command: str, more: dict[str, str]
) -> None:
    finish_a_job(ci, tmp_path)
    done = ci(command, CI_DATA_DIR=str(tmp_path / "typo"), **more)
    assert done.returncode == 64, done.stderr
    assert (
        f"belongs to the data directory {tmp_path}/ci_jobs.data, and CI_DATA_DIR names {tmp_path}/typo" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "typo").exists()


def test_adopting_says_what_it_does_and_asks(ci: Command, tmp_path: Path) -> None:
    assert ci("adopt").returncode == 70, "there is nothing to adopt yet"
    finish_a_job(ci, tmp_path)
    assert "nothing to adopt" in ci("adopt").stderr
    there = {"CI_DATA_DIR": str(tmp_path / "typo")}
    asked = ci("adopt", **there)
    assert asked.returncode == 64
    assert "ends its 0 unfinished jobs as errored" in asked.stderr
    assert "give --yes" in asked.stderr
    assert not (tmp_path / "typo").exists()
    done = ci("adopt", "--yes", "--json", **there)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).items() >= {"data_path": str(tmp_path / "typo"), "ended": 0}.items()
    assert ci("list", **there).returncode == 0


def status_after_typing(answer: bytes, terminal: int, process: "subprocess.Popen[bytes]") -> int:
    """Type an answer, and once more after each second without an effect, as a person does.

    Python acts on no signal that comes just before it begins to read a line: it reads on.
    """
    for _ in range(int(PATIENCE)):
        with suppress(OSError):  # The process has ended.
            os.write(terminal, answer)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1)
    pytest.fail(f"the command goes on after {answer!r}")


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 130), (b"y\n", 0), (b"\x03", 130)])
def test_on_a_terminal_it_asks(ci: Command, tmp_path: Path, answer: bytes, status: int) -> None:
    finish_a_job(ci, tmp_path)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "CI_DB_PATH": str(tmp_path / "ci_jobs.db"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_cli", "adopt"], env={**environment, "CI_DATA_DIR": str(tmp_path / "typo")},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C reaches the command.
    )  # fmt: skip
    try:
        os.close(theirs)
        said = b""
        while b"Adopt it? [y/N]" not in said:
            said += os.read(ours, 4096)
        assert status_after_typing(answer, ours, process) == status
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert (tmp_path / "typo").exists() == (status == 0)
