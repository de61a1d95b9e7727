"""`ci run --agent` and `ci wait --agent`: short lines, events, budgets and exit statuses, against the real server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ci_cli.agents.limits import ANSWER_BYTES
from ci_client.client import cancel_job, get_job
from ci_common.wire.live.events import CommandEvent
from tests.helpers.installation import ROOT
from tests.helpers.service import Service, tree

Run = Callable[..., "subprocess.CompletedProcess[str]"]
NOISE = "for i in $(seq 1 3000); do echo noise $i; done"


@pytest.fixture
def runtime() -> str:
    return "process"


@pytest.fixture
def run(environment: dict[str, str], service: Service, tmp_path: Path) -> Run:
    """A function that runs `ci run --agent` in a project with a command, or another command."""
    project = tree(tmp_path / "project", {"a.txt": "a"})

    def run(*args: str, command: str = "run") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ci_cli", command, "--server", service.url, *args],
            cwd=project,
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


def test_a_failed_run_is_told_in_less_than_4_kib(run: Run) -> None:
    ended = run("--agent", "--", "sh", "-c", f"{NOISE}; echo 'main.c:3:1: error: no such thing'; {NOISE}; exit 7")
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("job ")
    assert lines[1].startswith("failed: exit code 7, after ")
    assert "  3001 main.c:3:1: error: no such thing" in lines
    assert [line.split()[:2] for line in lines[-2:]] == [["next:", "ci"], ["next:", "ci"]]
    assert len((ended.stdout + ended.stderr).encode()) <= ANSWER_BYTES


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["docker"])
def test_a_run_that_fails_in_a_container_is_told_and_run_again(run: Run, tmp_path: Path, service: Service) -> None:
    test = "import unittest\nclass Shop(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(9, 8)\n"
    tree(tmp_path / "project", {"test_it.py": test, "ci.yaml": "command: python3 -m unittest\n"})
    ended = run("--agent")
    assert ended.returncode == 1, ended.stderr
    job_id = ended.stdout.splitlines()[0].split()[1]
    assert get_job(job_id, server_url=service.url)["runtime"] == "docker"
    assert "AssertionError: 9 != 8" in ended.stdout
    assert len((ended.stdout + ended.stderr).encode()) <= ANSWER_BYTES
    tree(tmp_path / "project", {"test_it.py": test.replace("8", "9")})
    again = run("--agent")
    assert again.returncode == 0, again.stdout
    assert "succeeded" in again.stdout


def test_a_run_that_succeeds_needs_two_lines(run: Run) -> None:
    ended = run("--agent", "--", "sh", "-c", NOISE)
    assert ended.returncode == 0
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["job", "succeeded:"]


def test_a_budget_ends_the_command_and_the_job_goes_on(run: Run, service: Service) -> None:
    ended = run("--agent", "--budget", "1s", "--jsonl", "--", "sh", "-c", "sleep 600")
    assert ended.returncode == 76
    first, last = [json.loads(line) for line in ended.stdout.splitlines()]
    adapter: TypeAdapter[object] = TypeAdapter(CommandEvent)
    for event in (first, last):
        adapter.validate_python(event)
    assert (first["type"], first["schema"], last["type"]) == ("begin", 1, "still_running")
    job_id = first["job_id"]
    assert last["next"] == [f"ci wait --server {service.url} {job_id} --agent --budget 1s"]
    assert get_job(job_id, service.url)["status"] == "running"
    cancel_job(job_id, service.url)
    ended = run(job_id, "--agent", "--jsonl", command="wait")
    assert ended.returncode == 130
    verdict = json.loads(ended.stdout.splitlines()[-1])
    adapter.validate_python(verdict)
    assert (verdict["type"], verdict["conclusion"]) == ("verdict", "cancelled")


def test_fail_fast_ends_with_the_first_failed_test(run: Run, service: Service) -> None:
    script = "echo 'tests/test_a.py::test_one PASSED'; echo 'tests/test_a.py::test_two FAILED [ 50%]'; sleep 600"
    ended = run("--agent", "--fail-fast", "--", "sh", "-c", script)
    assert ended.returncode == 1
    job, failing, again, cancel = ended.stdout.splitlines()
    job_id = job.split()[1]
    assert failing == "a test has failed, and the job goes on: tests/test_a.py::test_two FAILED [ 50%]"
    assert again.endswith(f"{job_id} --agent")
    assert cancel == f"next: ci cancel --server {service.url} {job_id}"
    assert get_job(job_id, service.url)["status"] == "running"
    cancel_job(job_id, service.url)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--budget", "9s"], "need --agent"),
        (["--agent", "--budget", "soon"], "is not a duration"),
        (["--agent", "--watch"], "cannot be used together"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, args: list[str], said: str) -> None:
    ended = run(*args)
    assert (ended.returncode, ended.stdout) == (64, "")
    assert said in ended.stderr
