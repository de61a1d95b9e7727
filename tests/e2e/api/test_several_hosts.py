"""A server without the data directory, beside one that has it: what it answers, refuses and redirects."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.helpers.service import Service, zipped

PROJECT = {"ci.yaml": "steps: [{name: hello, run: 'echo hello'}]"}


@pytest.fixture
def environment(tmp_path: Path, postgresql_url: str) -> dict[str, str]:
    return {
        "CI_DATABASE_URL": postgresql_url,
        "CI_RUNTIME": "process",
        "PORT": "0",
        "CI_HOST": "127.0.0.1",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


@pytest.fixture
def home(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """The server that has the data directory, with a controller."""
    service = Service({**environment, "CI_DATA_DIR": str(tmp_path / "data")})
    yield service.start()
    service.stop()


@pytest.fixture
def further(environment: dict[str, str], tmp_path: Path, home: Service) -> Iterator[Service]:
    """A server that redirects to `home`."""
    service = Service(without_files(environment, tmp_path, home.url))
    yield service.start()
    service.stop()


def without_files(environment: dict[str, str], tmp_path: Path, files: str) -> dict[str, str]:
    there = {"CI_DATA_DIR": str(tmp_path / "none"), "CI_CONTROLLER": "off", "CI_FILES": files}
    return {**environment, **there}


@pytest.fixture
async def client(further: Service) -> AsyncIterator[CiClient]:
    async with CiClient(further.url) as client:
        yield client


async def completed(client: CiClient, job_id: str) -> dict[str, object]:
    while (job := await client.get_job(job_id))["status"] != "completed":
        await asyncio.sleep(0.05)
    return job


async def test_the_client_runs_a_project_through_a_server_without_files(client: CiClient, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    job_id = await client.submit(project)
    assert (await completed(client, job_id))["conclusion"] == "succeeded"
    log = b"".join([chunk async for chunk in client.log(job_id)])
    assert log == b"hello\n"
    assert [event["type"] async for event in client.stream(job_id)][-1] == "complete"
    again = await client.retry_job(job_id)
    assert (await completed(client, again))["conclusion"] == "succeeded"


async def test_what_needs_no_files_is_answered(client: CiClient, further: Service, tmp_path: Path) -> None:
    job_id = await client.create_job({"command": "exit 3"})
    assert (await completed(client, job_id))["exit_code"] == 3
    assert [job["job_id"] for job in await client.list_jobs()] == [job_id]
    async with httpx.AsyncClient(base_url=further.url) as http:
        assert (await http.get("/ready")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
        answer = await http.get(f"/jobs/{job_id}/log", params={"attempt": "1"})
        assert answer.status_code == 307
        assert answer.headers["location"].endswith(f"/jobs/{job_id}/log?attempt=1")
        assert (await http.get(f"/jobs/{job_id}", params={"include": "log"})).status_code == 307
        assert (await http.delete(f"/jobs/{job_id}")).status_code == 204
    assert not (tmp_path / "none").exists()


async def test_uploads_with_curl_are_redirected(further: Service) -> None:
    async with httpx.AsyncClient(base_url=further.url, follow_redirects=True, timeout=60) as http:
        answer = await http.post("/submit-async", files={"file": ("p.zip", zipped(PROJECT))})
    assert answer.status_code == 202
    assert [response.status_code for response in answer.history] == [307]


async def test_without_a_url_they_are_refused(environment: dict[str, str], home: Service, tmp_path: Path) -> None:
    service = Service(without_files(environment, tmp_path, "elsewhere")).start()
    try:
        async with CiClient(service.url) as client, CiClient(home.url) as at_home:
            job_id = await client.create_job({"command": "echo a"})
            await completed(client, job_id)
            with pytest.raises(ServerError, match="does not have the files of jobs") as refused:
                [chunk async for chunk in client.log(job_id)]
            assert (refused.value.status, refused.value.code) == (503, "files_elsewhere")
            assert not refused.value.may_pass
            assert b"".join([chunk async for chunk in at_home.log(job_id)]) == b"a\n"
    finally:
        service.stop()
