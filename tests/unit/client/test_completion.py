"""What bash completes: the script runs in a real one, on a terminal."""

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from ci_cli.main import run_cli
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.slow


class Bash:
    """An interactive bash with the completion script."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 200))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "> "}
        environment["INPUTRC"] = os.devnull
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.until("> ")
        os.write(self._master, b'eval "$(ci completion bash)"; echo read""y\n')
        self.until("ready\r\n> ")

    def until(self, expected: str) -> str:
        """Return what is shown, once that has the expected text."""
        shown, deadline = "", time.monotonic() + PATIENCE
        while expected not in shown:
            left = deadline - time.monotonic()
            assert left > 0, f"bash shows {shown!r} and not {expected!r}"
            if select.select([self._master], [], [], left)[0]:
                shown += os.read(self._master, 65_536).decode()
        return shown

    def completed(self, typed: str, expected: str) -> str:
        """Type the beginning of a line and TAB, wait for its completion, and leave the line."""
        os.write(self._master, f"{typed}\t".encode())
        shown = self.until(expected)
        os.write(self._master, b"\x15")
        return shown

    def __enter__(self) -> "Bash":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)
        self._process.kill()
        self._process.wait(PATIENCE)


def test_bash_completes_options_jobs_and_servers(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    assert run_cli(["config", "add", "team", server.url]) == 0
    assert run_cli(["config", "add", "other", "http://127.0.0.1:9"]) == 0
    job = server.add(ScriptedJob(job_id="01988e5c-7a3b-7000-8000-0123456789ab"))
    with Bash() as bash:
        bash.completed("ci run --ti", "ci run --timeout ")
        bash.completed("ci artif", "ci artifacts ")
        bash.completed("ci status --server te", "ci status --server team ")
        for command in ("status", "logs", "artifacts", "retry", "tests", "delete"):
            line = f"ci {command} --server team 0198"
            bash.completed(line, f"{line}{job.job_id[4:]} ")
        bash.completed("ci config default o", "ci config default other ")
        bash.completed("ci completion z", "ci completion zsh ")


@pytest.mark.parametrize(("shell", "needed"), [("zsh", "#compdef ci"), ("fish", "complete --no-files --command ci")])
def test_the_scripts_of_other_shells(shell: str, needed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["completion", shell]) == 0
    assert needed in capsys.readouterr().out
