"""`ci` without a server: the real API and controller in the command's own process, jobs as processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.installation import ROOT
from tests.helpers.scripted_server import wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    environment = {name: value for name, value in os.environ.items() if name not in ("CI_SERVER_URL", "CI_DB_PATH")}
    environment |= {"XDG_STATE_HOME": str(tmp_path / "state"), "CI_RUNTIME": "process", "PYTHONPATH": str(ROOT)}

    def start_ci(*args: str | Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "ci_client", *map(str, args)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start_ci


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, str]:
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    return process.returncode, out, err.decode()


def first_job(start: Start) -> str:
    code, out, err = ended(start("list", "--json"))
    assert code == 0, err
    return str(json.loads(out)[0]["job_id"])


def test_run_gives_exact_bytes_and_the_exit_code(start: Start, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "say.sh").write_text("printf 'caf\\351\\377 no newline'; exit 9\n")
    (project / "say.sh").chmod(0o755)
    code, out, err = ended(start("run", project, "--", "sh", "-c", ". ./say.sh"))
    assert (code, out) == (9, b"caf\xe9\xff no newline"), err
    assert "jobs are not isolated" in err
    assert "failed: exit code 9" in err
    job_id = first_job(start)
    assert ended(start("logs", job_id))[:2] == (0, out)
    assert ended(start("wait", job_id, "--all"))[:2] == (9, out)
    code, out, _ = ended(start("status", job_id))
    assert (code, b"completed, failed" in out) == (0, True)
    assert ended(start("retry", job_id))[0] == 9


def test_timeout_is_124(start: Start) -> None:
    code, _, err = ended(start("exec", "any", "--timeout", "0.2", "--", "sleep", "60"))
    assert code == 124, err
    assert "timed_out" in err


def test_ctrl_c_leaves_the_job_and_wait_comes_back(start: Start, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    process = start("exec", "any", "--", "sh", "-c", f"echo one; while ! [ -e {go_on} ]; do sleep 0.05; done; echo two")
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130
    assert "the job goes on" in err
    job_id = first_job(start)
    waiting = start("wait", job_id, "--all")
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == b"one\n"
    go_on.touch()
    code, out, err = ended(waiting)
    assert (code, out) == (0, b"two\n"), err


def test_second_ctrl_c_really_ends_the_job(start: Start, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    process = start("exec", "any", "--", "sh", "-c", f"echo $$ > {pid_file}; echo ready; exec sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    wait_until(lambda: b"Ctrl-C again" in process.stderr.readline())  # type: ignore[union-attr]
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    assert not Path(f"/proc/{pid_file.read_text().strip()}").exists()
    assert json.loads(ended(start("list", "--json"))[1])[0]["conclusion"] == "cancelled"


def test_cancel_from_elsewhere(start: Start) -> None:
    process = start("exec", "any", "--", "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    job_id = first_job(start)
    assert ended(start("cancel", job_id))[0] == 0
    assert ended(process)[0] == 130
    code, _, err = ended(start("cancel", job_id))
    assert code == 64, err


def test_serve_is_found_and_does_detached_work(start: Start, tmp_path: Path) -> None:
    serving = start("serve", "--port", "0")
    try:
        announcement = tmp_path / "state" / "ci-server" / "server.json"
        wait_until(announcement.exists)
        code, out, err = ended(start("exec", "any", "--detach", "--", "sh", "-c", "echo hello; exit 5"))
        assert code == 0, err
        job_id = out.decode().strip()
        code, out, err = ended(start("wait", job_id, "--all"))
        assert (code, out) == (5, b"hello\n"), err
        assert "embedded" not in err
        assert ended(start("doctor"))[0] == 0
    finally:
        serving.send_signal(signal.SIGTERM)
        code, _, err = ended(serving)
    assert code == 0, err
    assert not announcement.exists()


def test_an_upload_that_nothing_recognises_is_refused(start: Start, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "notes.txt").write_text("x")
    code, _, err = ended(start("run", project))
    assert code == 64
    assert "ci.yaml" in err
