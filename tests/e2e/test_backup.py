"""A backup is taken of a service that works and restored elsewhere: nothing of what had completed is missing."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.installation import ROOT
from tests.helpers.service import Service, zipped

Starter = Callable[..., Service]
AT_ONCE = 3


@pytest.fixture
def ci(environment: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def run(*args: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
        env = {**os.environ, **environment, **settings, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "ci_cli", *map(str, args)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)

    return run


class Load:
    """Clients that submit and follow one job after the other, in threads, until they are told to stop."""

    def __init__(self, service: Service, image: str) -> None:
        self._service = service
        self._spec = json.dumps(
            {"image": image, "command": 'i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo "$i $$"; done'}
        )
        self._archive = zipped({"some": "file"})
        self._stopping = threading.Event()
        self._first = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._work) for _ in range(AT_ONCE)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, number: int) -> None:
        """Return once so many jobs more have completed."""
        for _ in range(number):
            assert self._first.acquire(timeout=60)

    def _work(self) -> None:
        with self._service.client() as client:
            while not self._stopping.is_set():
                files = {"file": ("project.zip", self._archive)}
                job_id = client.post("/submit-async", files=files, data={"spec": self._spec}).json()["job_id"]
                with client.stream("GET", f"/jobs/{job_id}/stream") as events:
                    for _ in events.iter_raw():
                        pass
                self._first.release()


def documents(client: httpx.Client) -> dict[str, Any]:
    listed: dict[str, Any] = {}
    url: str | None = "/jobs?limit=100"
    while url:
        page = client.get(url)
        listed |= {job["job_id"]: job for job in page.json()}
        url = page.links.get("next", {}).get("url")
    return listed


def but_for_its_path(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job without what is still written of it once it has completed."""
    return {name: value for name, value in job.items() if name != "timing"}


def test_a_backup_under_load_is_restored_elsewhere(
    start: Starter, service: Service, shell_image: str, tmp_path: Path, ci: Callable[..., Any]
) -> None:
    with service.client() as client:
        held = client.post(
            "/jobs", json={"image": shell_image, "command": "echo held; while [ ! -e /no ]; do sleep 0.1; done"}
        )
        held_id = held.json()["job_id"]
        with Load(service, shell_image) as load:
            load.wait_for(4)
            taken = ci("backup", tmp_path / "backup", "--json")
            load.wait_for(2)
        assert taken.returncode == 0, taken.stderr
        manifest = json.loads(taken.stdout)
        before = documents(client)

        place = tmp_path / "elsewhere" / "ci_jobs.db"
        done = ci("restore", tmp_path / "backup", "--json", CI_DB_PATH=str(place))
        assert done.returncode == 0, done.stderr
        there = start(CI_DB_PATH=str(place))
        with there.client() as other:
            after = documents(other)
            assert len(after) == manifest["jobs"] >= 5
            lost = {job_id for job_id, job in after.items() if (job["reason"] or {}).get("code") == "restored"}
            assert held_id in lost
            assert len(lost) == manifest["unfinished"] == json.loads(done.stdout)["ended"]
            for job_id in after.keys() - lost:
                assert but_for_its_path(after[job_id]) == but_for_its_path(before[job_id])
                log = other.get(f"/jobs/{job_id}/log").content
                assert hashlib.sha256(log).hexdigest() == before[job_id]["log_sha256"]
                assert log == client.get(f"/jobs/{job_id}/log").content
            again = other.post(f"/jobs/{next(iter(after.keys() - lost))}/retry")
            assert again.status_code in (200, 201, 202), "what was uploaded came along"
        assert client.get(f"/jobs/{held_id}").json()["status"] == "running", "the original's containers are its own"
        client.post(f"/jobs/{held_id}/cancel")
