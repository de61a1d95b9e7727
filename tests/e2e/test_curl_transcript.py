"""The transcript of `curl` commands in the service's first description, with curl itself."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers.scripts import provide
from tests.helpers.service import Service, zipped

PROJECT = {
    "ci.yaml": "steps:\n  - name: greet\n    run: |\n      echo Running tests...\n      echo all good\n",
    "README": "a project",
}


@pytest.fixture
def project_zip(tmp_path: Path) -> Path:
    provide("curl")
    path = tmp_path / "project.zip"
    path.write_bytes(zipped(PROJECT))
    return path


def curl(*arguments: str) -> str:
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def events(stream: str) -> list[dict[str, object]]:
    return [json.loads(data) for data in re.findall(r"^data: (.*)$", stream, re.MULTILINE)]


def log_of(stream: str) -> str:
    return "".join(str(event["data"]) for event in events(stream) if event["type"] == "log")


async def test_submit_streams_the_job(service: Service, project_zip: Path) -> None:
    stream = curl("-N", "-X", "POST", f"{service.url}/submit", "-F", f"file=@{project_zip}")
    assert log_of(stream) == "Running tests...\nall good\n"
    assert events(stream)[-1]["type"] == "complete"
    assert events(stream)[-1]["success"] is True


async def test_submit_stream_names_the_job_first(service: Service, project_zip: Path) -> None:
    stream = curl("-N", "-X", "POST", f"{service.url}/submit-stream", "-F", f"file=@{project_zip}")
    first = events(stream)[0]
    assert first["type"] == "job_id"
    assert json.loads(curl(f"{service.url}/jobs/{first['job_id']}"))["success"] is True


async def test_submit_async_then_stream_status_and_list(service: Service, project_zip: Path) -> None:
    answer = json.loads(curl("-X", "POST", f"{service.url}/submit-async", "-F", f"file=@{project_zip}"))
    assert set(answer) == {"job_id"}
    job_id = answer["job_id"]

    stream = curl("-N", f"{service.url}/jobs/{job_id}/stream?from_beginning=true")
    assert log_of(stream) == "Running tests...\nall good\n"

    job = json.loads(curl(f"{service.url}/jobs/{job_id}"))
    assert (job["job_id"], job["status"], job["success"]) == (job_id, "completed", True)
    assert job["submit_time"] <= job["start_time"] <= job["end_time"]
    assert job["end_time"].endswith("Z")

    forward_only = curl("-N", f"{service.url}/jobs/{job_id}/stream")
    assert log_of(forward_only) == ""
    assert events(forward_only)[-1]["type"] == "complete"

    assert [entry["job_id"] for entry in json.loads(curl(f"{service.url}/jobs"))] == [job_id]
