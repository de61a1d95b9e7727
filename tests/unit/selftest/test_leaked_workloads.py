"""Workloads and slots that are left: the self-test must see both."""

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from ci_client.aio import CiClient
from ci_common.run_directory.layout import DataDirectory
from ci_common.system.processes import identity_of
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION, JOB, PROFILE, SERVICE, SETUP
from ci_controller.runtime.docker.engine import Engine
from ci_selftest import leaks
from ci_selftest.faults.workloads import Containers, Processes
from ci_selftest.jobs.evidence import Promise
from tests.engine.api import EngineAPI
from tests.engine.images import volume_image


class Server:
    """A server of which only so many slots are left."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._cancelled: list[str] = []
        self._jobs: list[str] = []

    async def create_job(self, request: dict[str, Any]) -> str:
        self._jobs.append(f"{request['command']} {len(self._jobs)}")
        return self._jobs[-1]

    async def get_job(self, job_id: str) -> dict[str, Any]:
        runs = self._jobs.index(job_id) < self._slots
        status = "completed" if job_id in self._cancelled else "running" if runs else "queued"
        return {"job_id": job_id, "status": status}

    async def cancel_job(self, job_id: str) -> None:
        self._cancelled.append(job_id)


@pytest.mark.parametrize(("slots", "found"), [(3, []), (2, ["x 2"]), (0, ["x 0", "x 1", "x 2"])])
async def test_a_slot_that_nobody_gets_is_a_leak(slots: int, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GONE_WITHIN_SECONDS", 0.05)
    violations = await leaks.leaked_slots(cast(CiClient, Server(slots)), 3, {"command": "x"})
    assert [(violation.promise, violation.subject) for violation in violations] == [
        (Promise.LEAKED_SLOT, job_id) for job_id in found
    ]


async def test_what_ran_a_job_as_a_process_and_is_left_is_seen(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.create()
    data.processes.mkdir()
    processes = Processes(data)
    assert await processes.left() == []
    (data.processes / "a.1").mkdir()
    assert await processes.left() == ["a.1"]


async def test_only_jobs_that_can_be_hit_are_targets(tmp_path: Path) -> None:
    """A setup is none, and later attempts, which may not be tried again, are left alone."""
    data = DataDirectory(tmp_path)
    for name in ("a.1", "b.2", ".setup-c"):
        (data.processes / name).mkdir(parents=True)
    processes = Processes(data)
    assert await processes.running() == []
    with subprocess.Popen(["sleep", "20"], start_new_session=True) as script:
        identity = identity_of(script.pid)
        assert identity is not None
        for record in data.processes.iterdir():
            (record / "script").write_text(identity.to_json())
        assert await processes.running() == ["a"]
        assert await processes.kill("a")
        script.wait(10)


@pytest.mark.docker
async def test_containers_and_helpers_that_are_left_are_seen_and_no_others(
    engine: EngineAPI, busybox_image: str, tmp_path: Path
) -> None:
    opened = Engine(engine.url)
    await opened.open()
    containers = Containers(opened, DataDirectory(tmp_path), "the-self-tests-own")
    try:
        made = [
            _create(busybox_image, f"{INSTALLATION}={installation}", label)
            for installation, label in (
                ("the-self-tests-own", f"{JOB}=a"),
                ("the-self-tests-own", f"{HELPER}=x"),
                ("a-strangers", f"{JOB}=b"),
            )
        ]
        made.append(_create(busybox_image, f"{INSTALLATION}=the-self-tests-own", f"{JOB}=w", f"{PROFILE}=k"))
        made.append(_create(busybox_image, f"{INSTALLATION}=the-self-tests-own", f"{JOB}=w", f"{SERVICE}=db"))
        assert await containers.left() == sorted(made[:2])
        assert await containers.waiting() == {"w"}
        await containers.clear()
        assert await containers.left() == []
        subprocess.run(["docker", "rm", made[2]], check=True, capture_output=True)
    finally:
        await containers.close()


@pytest.mark.docker
async def test_networks_volumes_and_images_that_are_left_are_seen(engine: EngineAPI, tmp_path: Path) -> None:
    opened = Engine(engine.url)
    await opened.open()
    containers = Containers(opened, DataDirectory(tmp_path), "the-self-tests-own")
    ours, image = f"{INSTALLATION}=the-self-tests-own", volume_image(engine, "/data")
    try:
        with_volume = _create(image, ours, f"{JOB}=a", f"{SERVICE}=db")
        assert await containers.left() == [with_volume]
        docker("rm", with_volume)
        (volume,) = await containers.left()
        assert volume.startswith("volume ")
        docker("volume", "rm", volume.removeprefix("volume "))
        docker("network", "create", "--label", ours, "--label", f"{JOB}=a", "selftest-left")
        assert await containers.left() == ["network selftest-left"]
        setup = _create(image, ours, f"{SETUP}=x")
        docker("start", setup)
        docker("commit", "--change", f"LABEL {ours}", "--change", f"LABEL {SETUP}=k", setup)
        assert len(await containers.environments()) == 1
        await containers.clear()
        assert (await containers.left(), await containers.environments()) == ([], set())
    finally:
        await containers.clear()
        await containers.close()


@pytest.mark.docker
async def test_a_service_is_hit_for_itself(engine: EngineAPI, busybox_image: str, tmp_path: Path) -> None:
    opened = Engine(engine.url)
    await opened.open()
    containers = Containers(opened, DataDirectory(tmp_path), "the-self-tests-own")
    ours = f"{INSTALLATION}=the-self-tests-own"
    try:
        job, service, setup = (
            _create(busybox_image, ours, *labels)
            for labels in ((f"{JOB}=a",), (f"{JOB}=a", f"{SERVICE}=db"), (f"{SETUP}=x",))
        )
        docker("start", job, service, setup)
        assert (await containers.running(), await containers.served()) == (["a"], ["a"])
        assert len(await containers.setups()) == 1
        assert await containers.kill_service("a")
        assert (await containers.running(), await containers.served()) == (["a"], [])
        assert await containers.kill("a")
        assert not await containers.kill_service("a")
        assert await containers.running() == []
    finally:
        await containers.clear()
        await containers.close()


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True)


def _create(image: str, *labels: str) -> str:
    given = [argument for label in labels for argument in ("--label", label)]
    made = subprocess.run(
        ["docker", "create", *given, image, "sleep", "60"], check=True, capture_output=True, text=True
    )
    name = ["docker", "inspect", "--format", "{{.Name}}", made.stdout.strip()]
    return subprocess.run(name, check=True, capture_output=True, text=True).stdout.strip().lstrip("/")
