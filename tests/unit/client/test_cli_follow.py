"""The command line against a scripted server: bytes, exit statuses, messages."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ci_cli.main import run_cli
from ci_client.aio import CiClient
from ci_client.errors import ConnectionBroken, ServerUnreachable
from tests.helpers.scripted_job import ScriptedJob
from tests.helpers.scripted_server import ScriptedServer, running_server
from tests.helpers.service import SCRIPTED_LOG, ci

Capture = pytest.CaptureFixture[bytes]


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
    server.next_job = ScriptedJob(SCRIPTED_LOG, conclusion=conclusion, exit_code=exit_code, chunk=9)
    assert ci(server, "run", project) == expected
    out, err = capfdbinary.readouterr()
    assert out == SCRIPTED_LOG
    assert conclusion.encode() in err
    assert server.next_job.job_id.encode() in err
    assert b"2.5 s" in err
    assert f"ci logs --server {server.url} {server.next_job.job_id}".encode() in err


def test_what_happens_is_told_on_standard_error(server: ScriptedServer, project: Path, capfdbinary: Capture) -> None:
    waiting = {"status": "queued", "reason": {"code": "waiting_for_slot", "message": "4 jobs run already"}}
    server.next_job = ScriptedJob(
        SCRIPTED_LOG,
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
    assert "ci: submitting 1 file, 20 bytes" in "\n".join(lines)
    assert lines.index("ci: step test") < lines.index("ci: step test failed with exit code 2")


@pytest.mark.parametrize(
    ("name", "title"), [("step 2", "step 2"), ("step two", "step step two"), ("install", "step install")]
)
def test_a_step_without_a_name_is_called_by_its_number(
    server: ScriptedServer, project: Path, capfdbinary: Capture, name: str, title: str
) -> None:
    steps = [
        (0, {"name": name, "status": "running", "start_time": None}),
        (8, {"name": name, "status": "failed", "exit_code": 2, "start_time": None}),
    ]
    server.next_job = ScriptedJob(SCRIPTED_LOG, steps=steps, conclusion="failed", exit_code=2)
    assert ci(server, "submit", project) == 2
    lines = capfdbinary.readouterr().err.decode().splitlines()
    assert lines.index(f"ci: {title}") < lines.index(f"ci: {title} failed with exit code 2")
    assert ci(server, "status", server.next_job.job_id) == 0
    assert re.search(rf"^{title}: +failed", capfdbinary.readouterr().out.decode(), re.MULTILINE)


@pytest.mark.parametrize("error", [ServerUnreachable("no server there"), ConnectionBroken("cut")])
def test_a_server_that_dies_between_two_events_changes_no_verdict(
    server: ScriptedServer,
    project: Path,
    capfdbinary: Capture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """What else there is to tell of the job is asked for when it begins to run and when it has ended."""

    async def fail(client: CiClient, job_id: str) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(CiClient, "get_job", fail)
    server.next_job = ScriptedJob(SCRIPTED_LOG, conclusion="failed", exit_code=5)
    assert ci(server, "submit", project) == 5
    out, err = capfdbinary.readouterr()
    assert out == SCRIPTED_LOG
    assert f"job {server.next_job.job_id} failed: exit code 5".encode() in err


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
    options += ["--pids", "50", "--max-log", "10m", "--max-workspace", "1g"]
    options += ["--no-output-timeout", "5m", "--stop-grace", "0", "--secret", "TOKEN", "--secret", "KEY=DEPLOY_KEY"]
    assert ci(server, "submit", project, *options, "--", "sh", "-c", "echo -- $A") == 0
    assert capfdbinary.readouterr().out.decode() == server.next_job.job_id + "\n"
    assert server.specs == [
        {
            "image": "busybox",
            "command": ["sh", "-c", "echo -- $A"],
            "env": {"A": "b=c", "FROM_HERE": "=here="},
            "secrets": {"TOKEN": None, "KEY": "DEPLOY_KEY"},
            "timeout": "10m",
            "project": "p",
            "labels": {"k": "v=w"},
            "priority": -3,
            "no_output_timeout": "5m",
            "stop_grace": "0",
            "limits": {"cpus": 1.5, "memory": "512m", "pids": 50, "log": "10m", "workspace": "1g"},
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
    server.next_job = ScriptedJob(SCRIPTED_LOG, chunk=5)
    assert ci(server, "run", "--json", project) == 0
    events = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert events[-1]["type"] == "complete"
    assert {"type": "log", "offset": len(SCRIPTED_LOG)}.items() <= events[-2].items()


def test_wait_shows_all_or_what_is_new(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(ScriptedJob(SCRIPTED_LOG, conclusion="failed", exit_code=4))
    assert ci(server, "wait", "--all", job.job_id) == 4
    assert capfdbinary.readouterr().out == SCRIPTED_LOG
    assert ci(server, "wait", job.job_id[:-3]) == 4
    assert capfdbinary.readouterr().out == b""


def test_logs_are_exact(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(ScriptedJob(SCRIPTED_LOG, conclusion="failed", exit_code=4))
    for options in ([], ["-f"]):
        assert ci(server, "logs", *options, job.job_id) == 0
        assert capfdbinary.readouterr().out == SCRIPTED_LOG
    assert ci(server, "logs", "--json", job.job_id) == 0
    assert b"".join(json.loads(line)["data"].encode() for line in capfdbinary.readouterr().out.splitlines())


def test_list_and_status(server: ScriptedServer, capfdbinary: Capture) -> None:
    assert ci(server, "list") == 0
    assert capfdbinary.readouterr().out == b"no jobs\n"
    job, held = server.add(ScriptedJob(SCRIPTED_LOG)), server.add(ScriptedJob(SCRIPTED_LOG, hold_at=3))
    assert ci(server, "list") == 0
    head, *rows = capfdbinary.readouterr().out.decode().splitlines()
    assert head.split() == ["JOB", "STATUS", "SUBMITTED", "TOOK", "PROJECT", "WHAT"]
    assert [row.split()[:2] for row in rows] == [[held.job_id, "running"], [job.job_id, "succeeded"]]
    assert ci(server, "list", "--json", "--limit", "1") == 0
    assert [j["job_id"] for j in json.loads(capfdbinary.readouterr().out)] == [held.job_id]
    assert ci(server, "status", job.job_id) == 0
    assert b"completed, succeeded" in capfdbinary.readouterr().out
    assert ci(server, "status", "--json", job.job_id) == 0
    assert json.loads(capfdbinary.readouterr().out)["log_bytes"] == len(SCRIPTED_LOG)


def test_cancel_and_retry(server: ScriptedServer, capfdbinary: Capture) -> None:
    job = server.add(ScriptedJob(SCRIPTED_LOG, hold_at=3))
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
    server.refusals = [(status, {"title": "No", "detail": "not today", "code": "refused", "errors": errors}, {})]
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
    assert b"may have been accepted or not" in err
    assert b"ci list" in err


@pytest.mark.parametrize("text", ["", "x", "..", "\u00fc\u00fc\u00fc"])
def test_what_is_too_short_for_the_beginning_of_an_id_is_not_asked_for(
    server: ScriptedServer, capfdbinary: Capture, text: str
) -> None:
    for command in ("status", "delete", "logs"):
        assert ci(server, command, text) == 64
        assert "is not a job's id; give one, or at least 4 characters" in capfdbinary.readouterr().err.decode()
