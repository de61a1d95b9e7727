"""What the README tells people to type, typed: every block marked `<!-- run: NAME -->`, against the real service.

A block that is not run says why: `<!-- not run: REASON -->`.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Starter
from tests.helpers.installation import ROOT
from tests.helpers.markdown import Page
from tests.helpers.scripts import provide
from tests.helpers.service import Service

README = Page("README.md")
RUN = {block.note.removeprefix("run: "): block for block in README.blocks() if block.note.startswith("run: ")}
LOG = "building\nbuilding\nall good\n"
URL = "http://localhost:8000"

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def runtime() -> str:
    """Processes, so that the README is checked on every machine; one test below is about containers."""
    return "process"


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Shell:
    """A function that types blocks into one shell, in the project that the README makes: `shell(*names, url=…)`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("ci", " -m ci_cli"), ("python", ""), ("python3", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable}{arguments} "$@"\n')
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    settings = {**os.environ, **environment, "PATH": path, "PYTHONPATH": str(ROOT)}

    def typed(*names: str, url: str = URL) -> "subprocess.CompletedProcess[str]":
        text = "".join(RUN[name].text for name in names).replace(URL, url)
        inside = tmp_path / "hello" if (tmp_path / "hello").exists() else tmp_path
        arguments = [sys.executable, "-c", text] if RUN[names[0]].language == "python" else ["bash", "-euc", text]
        return subprocess.run(arguments, cwd=inside, env=settings, capture_output=True, text=True, timeout=120)

    done = typed("project")
    assert done.returncode == 0, done.stderr
    return typed


@pytest.fixture
def curl_and_zip() -> None:
    """What the README's section on curl runs."""
    provide("curl", "zip", "jq")


def events(stream: str) -> list[dict[str, object]]:
    return [json.loads(data) for data in re.findall(r"^data: (.*)$", stream, re.MULTILINE)]


def log_of(stream: str) -> str:
    return "".join(str(event["data"]) for event in events(stream) if event["type"] == "log")


def test_every_block_is_run_or_says_why_not() -> None:
    unmarked = [block.text for block in README.blocks() if not re.match(r"(not )?run: .", block.note)]
    assert not unmarked
    source = Path(__file__).read_text()
    assert [name for name in RUN if f'"{name}"' not in source] == [], "marked, but in no test"


def test_run_alone(shell: Shell) -> None:
    done = shell("alone")
    assert (done.returncode, done.stdout) == (0, LOG), done.stderr
    assert "succeeded" in done.stderr


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["docker"])
def test_run_alone_in_a_container(shell: Shell, python_image: str) -> None:
    assert python_image == "python:3.12-slim", "the image that the README names"
    done = shell("alone")
    assert (done.returncode, done.stdout) == (0, LOG), done.stderr
    assert "not isolated" not in done.stderr


def test_several_terminals(start: Starter, shell: Shell) -> None:
    assert RUN["serve"].text == "ci serve\n"
    service = start("serve")
    assert shell("submit").stdout == LOG
    done = shell("detached")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(LOG) == 2, "by wait and by logs"
    job_id = re.search(r"^job: +(\S+)$", done.stdout, re.MULTILINE)
    assert job_id is not None
    listing = done.stdout.rpartition(LOG)[2]
    assert job_id[1] in listing
    assert len(re.findall(r"^[0-9a-f]{8}-", listing, re.MULTILINE)) == 2, "and the job of the block before"
    assert any(re.search(r" INFO ci_server.requests: POST /uploads/\S+/submit 202 ", line) for line in service.said)


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["docker"])
@pytest.mark.usefixtures("service", "python_image")
def test_exec(shell: Shell) -> None:
    done = shell("exec")
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


@pytest.mark.usefixtures("curl_and_zip")
def test_curl(service: Service, shell: Shell) -> None:
    stream = shell("curl-submit", url=service.url).stdout
    assert log_of(stream) == LOG
    assert events(stream)[-1]["type"] == "complete"
    assert events(stream)[-1]["success"] is True

    stream = shell("curl-submit-stream", url=service.url).stdout
    assert events(stream)[0]["type"] == "job_id"
    assert log_of(stream) == LOG

    done = shell("curl-submit-async", "curl-follow", url=service.url)
    assert done.returncode == 0, done.stderr
    said, _, rest = done.stdout.partition("\n")
    job_id = said.removeprefix("Job ID: ")
    assert log_of(rest) == LOG, "once: the second stream brings only what is new"
    assert [event["type"] for event in events(rest)].count("complete") == 2
    job, jobs = (json.loads(document) for document in re.findall(r"\{\"job_id\".*\}(?=\[)|\[.*\]\Z", rest))
    assert (job["job_id"], job["status"], job["success"]) == (job_id, "completed", True)
    assert (jobs[0]["job_id"], len(jobs)) == (job_id, 3)


@pytest.mark.usefixtures("curl_and_zip")
def test_a_job_without_a_project(service: Service, shell: Shell) -> None:
    done = shell("curl-job", url=service.url)
    assert json.loads(done.stdout)["payload"]["timeout"] == "1m"


def test_python(service: Service, shell: Shell) -> None:
    done = shell("python", url=service.url)
    assert (done.returncode, done.stdout) == (0, LOG), done.stderr
