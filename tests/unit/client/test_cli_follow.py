"""The command line against a scripted server: bytes, exit statuses, messages, signals."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci_client.main import run_cli
from tests.helpers.scripted_server import ScriptedJob, ScriptedServer, running_server, wait_until

LOG = b"caf\xe9 \xff\x00\n" + "ünïcödé 🥊\r\n".encode() * 3 + b"no newline at the end"
Capture = pytest.CaptureFixture[bytes]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CI_SERVER_URL", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "test_it.py").write_text("def test_it(): pass\n")
    return directory


def ci(server: ScriptedServer, *args: str | Path) -> int:
    command, *rest = map(str, args)
    return run_cli([command, "--server", server.url, *rest])


@contextmanager
def started(server: ScriptedServer, *args: str | Path, **kwargs: object) -> Iterator[subprocess.Popen[bytes]]:
    command, *rest = map(str, args)
    process = subprocess.Popen(
        [sys.executable, "-m", "ci_client.main", command, "--server", server.url, *rest],
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kwargs},  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("conclusion", "exit_code", "expected"),
    [
        ("succeeded", 0, 0),
        ("failed", 1, 1),
        ("failed", 5, 5),
        ("failed", 137, 137),
        ("errored", None, 75),
        ("errored", 0, 75),
        ("timed_out", None, 124),
        ("timed_out", 143, 124),
        ("cancelled", None, 130),
        ("cancelled", 0, 130),
    ],
)
def test_run_ends_as_the_job_did(
    server: ScriptedServer, project: Path, capfdbinary: Capture, conclusion: str, exit_code: int | None, expected: int
) -> None:
    server.next_job = ScriptedJob(LOG, conclusion=conclusion, exit_code=exit_code, chunk=9)
    assert ci(server, "run", project) == expected
    out, err = capfdbinary.readouterr()
    assert out == LOG
    assert conclusion.encode() in err
    assert server.next_job.job_id.encode() in err
    assert b"2.5 s" in err
    assert f"ci logs --server {server.url} {server.next_job.job_id}".encode() in err


def test_what_happens_is_told_on_standard_error(server: ScriptedServer, project: Path, capfdbinary: Capture) -> None:
    waiting = {"status": "queued", "reason": {"code": "waiting_for_slot", "message": "4 jobs run already"}}
    server.next_job = ScriptedJob(
        LOG,
        runtime="process",
        statuses=[waiting, waiting, {"status": "running", "reason": None}],
        steps=[(0, {"name": "test", "status": "running"}), (8, {"name": "test", "status": "failed", "exit_code": 2})],
        conclusion="failed",
        exit_code=2,
        cuts=[(200, False)],
    )
    assert ci(server, "submit", project) == 2
    lines = capfdbinary.readouterr().err.decode().splitlines()
    assert lines.count("ci: waiting: 4 jobs run already") == 1
    assert lines.count("ci: running") == 1
    assert lines.count("ci: jobs are not isolated: they run as processes on this machine") == 1
    assert "ci: packed 1 file, 20 bytes, into" in "\n".join(lines)
    assert lines.index("ci: step test") < lines.index("ci: step test failed with exit code 2")


def test_what_the_options_ask_for_arrives(server: ScriptedServer, project: Path, capfdbinary: Capture) -> None:
    os.environ["FROM_HERE"] = "=here="
    options = [
        "--image",
        "busybox",
        "-e",
        "A=b=c",
        "-e",
        "FROM_HERE",
        "--timeout",
        "10m",
        "--project",
        "p",
        "--cpus",
        "1.5",
    ]
    options += ["--label", "k=v=w", "--priority", "-3", "--memory", "512m", "--no-network", "--detach"]
    assert ci(server, "submit", project, *options, "--", "sh", "-c", "echo -- $A") == 0
    assert capfdbinary.readouterr().out.decode() == server.next_job.job_id + "\n"
    assert server.specs == [
        {
            "image": "busybox",
            "command": ["sh", "-c", "echo -- $A"],
            "env": {"A": "b=c", "FROM_HERE": "=here="},
            "timeout": "10m",
            "project": "p",
            "labels": {"k": "v=w"},
            "priority": -3,
            "limits": {"cpus": 1.5, "memory": "512m"},
            "network": False,
        }
    ]


def test_path_is_this_directory_even_before_a_command(
    server: ScriptedServer, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert ci(server, "submit", "--detach", "--", "pytest", "-x") == 0
    assert server.specs == [{"command": ["pytest", "-x"]}]


def test_exec(server: ScriptedServer, capfdbinary: Capture) -> None:
    server.next_job = ScriptedJob(b"hello\n")
    assert ci(server, "exec", "busybox", "--timeout", "5", "--", "echo", "hello") == 0
    assert capfdbinary.readouterr().out == b"hello\n"
    assert server.specs == [{"type": "container", "image": "busybox", "timeout": "5", "command": ["echo", "hello"]}]


def test_events_as_json(server: ScriptedServer, project: Path, capfdbinary: Capture) -> None:
    server.next_job = ScriptedJob(LOG, chunk=5)
    assert ci(server, "run", "--json", project) == 0
    events = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert events[-1]["type"] == "complete"
    assert {"type": "log", "offset": len(LOG)}.items() <= events[-2].items()


def test_wait_shows_all_or_what_is_new(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(ScriptedJob(LOG, conclusion="failed", exit_code=4))
    assert ci(server, "wait", "--all", job.job_id) == 4
    assert capfdbinary.readouterr().out == LOG
    assert ci(server, "wait", job.job_id[:-3]) == 4
    assert capfdbinary.readouterr().out == b""


def test_logs_are_exact(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(ScriptedJob(LOG, conclusion="failed", exit_code=4))
    for options in ([], ["-f"]):
        assert ci(server, "logs", *options, job.job_id) == 0
        assert capfdbinary.readouterr().out == LOG
    assert ci(server, "logs", "--json", job.job_id) == 0
    assert b"".join(json.loads(line)["data"].encode() for line in capfdbinary.readouterr().out.splitlines())


def test_list_and_status(server: ScriptedServer, capfdbinary: Capture) -> None:
    assert ci(server, "list") == 0
    assert capfdbinary.readouterr().out == b"no jobs\n"
    job, held = server.add(ScriptedJob(LOG)), server.add(ScriptedJob(LOG, hold_at=3))
    assert ci(server, "list") == 0
    head, *rows = capfdbinary.readouterr().out.decode().splitlines()
    assert head.split() == ["JOB", "STATUS", "SUBMITTED", "TOOK", "PROJECT", "WHAT"]
    assert [row.split()[:2] for row in rows] == [[held.job_id, "running"], [job.job_id, "succeeded"]]
    assert ci(server, "list", "--json", "--limit", "1") == 0
    assert [j["job_id"] for j in json.loads(capfdbinary.readouterr().out)] == [held.job_id]
    assert ci(server, "status", job.job_id) == 0
    assert b"completed, succeeded" in capfdbinary.readouterr().out
    assert ci(server, "status", "--json", job.job_id) == 0
    assert json.loads(capfdbinary.readouterr().out)["log_bytes"] == len(LOG)


def test_cancel_and_retry(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(ScriptedJob(LOG, hold_at=3))
    assert ci(server, "cancel", job.job_id) == 0
    assert job.cancels == 1
    server.next_job = ScriptedJob(b"again")
    assert ci(server, "retry", job.job_id) == 0
    assert capfdbinary.readouterr().out == b"again"


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--no-such-option"],
        ["run", "does-not-exist"],
        ["run", __file__],
        ["run", ".", "--"],
        ["run", ".", "--timeout", "soon"],
        ["run", ".", "--env", "NOT_SET_ANYWHERE"],
        ["run", ".", "--env", "1A=b"],
        ["run", ".", "--label", "x"],
        ["exec", "busybox"],
        ["exec", "--", "true"],
        ["list", "--status", "lost"],
        ["status", "0123abcd"],
        ["status", "x"],
        ["nonsense"],
    ],
)
def test_wrong_use_is_64(server: ScriptedServer, args: list[str], capfdbinary: Capture) -> None:
    assert ci(server, *args) == 64
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err
    assert b"Traceback" not in err
    assert not server.uploads


@pytest.mark.parametrize(("status", "expected"), [(400, 64), (413, 64), (429, 69), (500, 70), (503, 69)])
def test_refusals(server: ScriptedServer, project: Path, capfdbinary: Capture, status: int, expected: int) -> None:
    errors = [{"path": "limits.memory", "message": "too much"}]
    server.refusal = (status, {"title": "No", "detail": "not today", "code": "refused", "errors": errors})
    assert ci(server, "run", project) == expected
    err = capfdbinary.readouterr().err
    assert b"not today" in err
    assert b"limits.memory: too much" in err


def test_nobody_answers(project: Path, capfdbinary: Capture) -> None:
    with running_server() as gone:
        pass
    for args in (["run", project], ["wait", "0" * 8], ["list"]):
        assert ci(gone, *args) == 69
        assert gone.url.encode() in capfdbinary.readouterr().err
    assert run_cli(["list", "--server", "unix:///no/such.sock"]) == 69
    assert run_cli(["list", "--server", "localhost:8000"]) == 69


def test_broken_submission_is_told_as_uncertain(server: ScriptedServer, project: Path, capfdbinary: Capture) -> None:
    server.break_submissions = True
    assert ci(server, "run", project) == 69
    err = capfdbinary.readouterr().err
    assert b"not certain" in err
    assert b"ci list" in err


def test_what_every_job_waits_for_is_told_only_where_it_takes_long(server: ScriptedServer) -> None:
    reason = {"code": "waiting_for_controller", "message": "nobody runs jobs"}
    waiting = {"status": "queued", "reason": reason}
    brief = server.add(ScriptedJob(b"x", statuses=[waiting, {"status": "running", "reason": None}]))
    with started(server, "wait", "--all", brief.job_id) as process:
        assert b"nobody runs jobs" not in process.communicate(timeout=20)[1]
    long = server.add(ScriptedJob(b"x", statuses=[waiting], hold_at=0))
    with started(server, "wait", "--all", long.job_id) as process:
        assert process.stderr is not None
        wait_until(lambda: b"waiting: nobody runs jobs" in process.stderr.readline())  # type: ignore[union-attr]


def test_ctrl_c_detaches(server: ScriptedServer, project: Path) -> None:
    job = server.next_job = ScriptedJob(LOG, hold_at=9, chunk=9)
    with started(server, "run", project) as process:
        wait_until(job.held.is_set)
        assert process.stdout is not None
        assert process.stdout.read(9) == LOG[:9]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert job.cancels == 0
    assert f"ci wait --server {server.url} {job.job_id} --all" in err.decode()
    assert b"Traceback" not in err
    assert out == b""


def test_second_ctrl_c_cancels(server: ScriptedServer, project: Path) -> None:
    job = server.next_job = ScriptedJob(LOG, hold_at=9, chunk=9)
    with started(server, "run", project) as process:
        wait_until(job.held.is_set)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        wait_until(lambda: b"Ctrl-C again" in process.stderr.readline())  # type: ignore[union-attr]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert job.cancels == 1
    assert b"Traceback" not in err


def test_sigterm_detaches_at_once(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(LOG, hold_at=9, chunk=9))
    with started(server, "wait", job.job_id, "--all") as process:
        wait_until(job.held.is_set)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"ci wait" in err
    assert b"Ctrl-C again" not in err


def test_ctrl_c_while_packing(server: ScriptedServer, project: Path) -> None:
    # So much that its packing has not ended when the signal comes.
    (project / "big").write_bytes(os.urandom(1024) * 200_000)
    with started(server, "run", project) as process:
        zip_open = Path(f"/proc/{process.pid}/fd")
        wait_until(
            lambda: any("ci-project" in _target(link) or "deleted" in _target(link) for link in zip_open.iterdir())
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not server.uploads


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def test_a_reader_that_goes_away_is_no_matter(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"0123456789\n" * 100_000, chunk=60_000, conclusion="failed", exit_code=7))
    for command, expected in ((["wait", "--all"], 7), (["logs"], 141), (["logs", "-f"], 141)):
        with started(server, *command, job.job_id) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.stderr is not None
            err = process.stderr.read()
            assert process.wait(20) == expected
        assert b"Traceback" not in err
        assert b"BrokenPipe" not in err


def test_ctrl_c_while_the_reader_of_the_log_sleeps(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"0123456789\n" * 100_000, chunk=60_000))
    with started(server, "wait", "--all", job.job_id) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        wait_until(lambda: b"detached" in process.stderr.readline())  # type: ignore[union-attr]
        assert process.wait(20) == 130


def test_large_logs_arrive_whole_through_a_pipe(server: ScriptedServer) -> None:
    log = os.urandom(3_000_000)
    job = server.add(ScriptedJob(log, chunk=65_536))
    with started(server, "wait", "--all", job.job_id) as process:
        assert process.communicate(timeout=30)[0] == log
    assert process.returncode == 0


def test_on_a_terminal_messages_begin_their_own_line(server: ScriptedServer) -> None:
    job = server.add(ScriptedJob(b"no newline"))
    master, slave = pty.openpty()
    with started(server, "wait", "--all", job.job_id, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 4096):
                shown += chunk
        except OSError:
            pass  # What a terminal says at its end.
        process.wait(20)
    os.close(master)
    assert b"no newline\r\n" in shown
    assert b"succeeded: exit code 0, after 2.5 s\r\n" in shown
