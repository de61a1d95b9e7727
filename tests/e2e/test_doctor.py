"""`ci doctor` with an engine: what containers see, what they are held to, and which of them are orphans."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ci_common.attempts.parts import StartWay
from ci_common.jobs import NewJob, State, new_job_id
from ci_common.run_directory import tickets
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.processes import this_process
from ci_common.times import utc_now
from ci_controller.doctor import leftovers
from ci_controller.doctor.engine_leftovers import examine_room
from ci_controller.doctor.examine import examine
from ci_controller.runtime.docker import probing
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.confining.packet_filter import CannotFilter, PacketFilter
from ci_controller.runtime.docker.containers import ATTEMPT, INSTALLATION, JOB, SETUP
from ci_persistence.open import sqlite_storage
from tests.engine.api import EngineAPI
from tests.helpers.installation import ROOT
from tests.helpers.service import containers

pytestmark = pytest.mark.docker


@pytest.fixture
def settings(tmp_path: Path, busybox_image: str) -> Settings:
    return Settings(
        db_path=tmp_path / "ci_jobs.db",
        runtime="docker",
        default_image=busybox_image,
        docker_url=os.environ.get("DOCKER_HOST") or None,
    )


@pytest.fixture
def prefix() -> str:
    return f"doctor-{secrets.token_hex(4)}-"


@pytest.fixture
def make(engine: EngineAPI, busybox_image: str, prefix: str) -> Iterator[Callable[..., str]]:
    """A function that makes a container with labels and a mount, and returns its name."""
    made: list[str] = []

    def create(source: Path, **labels: str) -> str:
        name = f"{prefix}{len(made)}"
        body = {
            "Image": busybox_image,
            "Cmd": ["true"],
            "Labels": {f"ci-server.{label}": value for label, value in labels.items()},
            "HostConfig": {"Mounts": [{"Type": "bind", "Source": str(source), "Target": "/ci"}]},
        }
        engine.request("POST", "/containers/create", {"name": name}, body)
        made.append(name)
        return name

    yield create
    for name in made:
        engine.request("DELETE", f"/containers/{name}", {"force": "true"})


async def found(settings: Settings) -> dict[str, tuple[bool | None, str, str]]:
    return {f.name: (f.ok, f.message, f.remedy) for f in await examine(settings)}


async def test_all_that_containers_need_is_tried_out(settings: Settings, tmp_path: Path) -> None:
    before = set(containers("ci-doctor-"))
    findings = await found(settings)
    assert findings["limits in a container"] == (True, "memory, pids, cpus hold", "")
    assert findings["files in a container"][0], findings
    assert findings["engine"][1].startswith("Docker ")
    assert "cgroup v" in findings["engine"][1]
    assert findings["default image"][0]
    assert {name for name, finding in findings.items() if finding[0] is False} == set()
    assert list(tmp_path.iterdir()) == [], "what the probe needed is gone again"
    assert set(containers("ci-doctor-")) <= before


async def test_without_the_image_it_says_what_was_not_looked_at(settings: Settings) -> None:
    findings = await found(settings.model_copy(update={"default_image": "no-such-image:1"}))
    assert findings["default image"][0] is None
    assert findings["default image"][2] == "docker pull no-such-image:1"
    for name in ("limits in a container", "files in a container"):
        assert findings[name][0] is None
        assert "not looked at" in findings[name][1]


async def test_an_image_without_a_shell(settings: Settings, no_shell_image: str) -> None:
    findings = await found(settings.model_copy(update={"default_image": no_shell_image}))
    assert findings["default image"][0] is False
    assert "no /bin/sh" in findings["default image"][1]


async def test_a_directory_that_the_engine_does_not_see(settings: Settings, tmp_path: Path, monkeypatch: Any) -> None:
    """As with an engine in a virtual machine or a container: the path leads elsewhere there."""
    config = probing.probe_config

    def elsewhere(*args: Any) -> dict[str, Any]:
        body = config(*args)
        body["HostConfig"]["Mounts"][0]["Source"] = str(tmp_path / "other")
        return body

    (tmp_path / "other").mkdir()
    monkeypatch.setattr(probing, "probe_config", elsewhere)
    monkeypatch.setattr(probing, "ANSWER_SECONDS", 1.0)
    assert "did not answer through" in (await found(settings))["files in a container"][1]
    shutil.rmtree(tmp_path / "other")
    ok, message, remedy = (await found(settings))["files in a container"]
    assert (ok, "cannot be started" in message, "CI_DATA_DIR" in remedy) == (False, True, True)


async def test_limits_that_do_not_hold(settings: Settings, monkeypatch: Any) -> None:
    monkeypatch.setattr(Confinement, "options", lambda *_, **__: {"Memory": 32 * 1024**2})
    ok, message, _ = (await found(settings))["limits in a container"]
    assert ok is None
    assert "memory: 33554432, not 67108864" in message
    assert "pids: None, not 35" in message


async def test_containers_of_nobody_are_named_with_what_removes_them(
    settings: Settings, make: Callable[..., str], monkeypatch: Any
) -> None:
    data = DataDirectory(settings.data_path)
    data.create()
    storage = sqlite_storage(settings.db_path)
    await storage.open()
    ours = (await storage.installations.get()).id
    await storage.close()
    assert (await found(settings))["containers"] == (True, "0 of ours, each with its job", "")
    orphan = make(data.jobs, installation=ours, job=new_job_id(), attempt="1")
    helper = make(data.jobs, installation=ours, helper="1")
    stranger = make(data.jobs, installation="b" * 32, job=new_job_id(), attempt="1")
    other = make(data.path.parent, installation="b" * 32, job=new_job_id(), attempt="1")
    assert (await found(settings))["containers"][0], "they are new: a controller may be at work"
    monkeypatch.setattr(leftovers, "SETTLED", timedelta(0))
    findings = [f for f in await examine(settings) if f.name == "containers"]
    assert {f.remedy: f.ok for f in findings} == {
        f"docker rm --force --volumes {name}": None for name in (orphan, helper, stranger)
    }
    assert all(other not in f.remedy for f in findings)


async def test_networks_and_images_of_no_job_are_named_with_what_removes_them(
    settings: Settings, engine: EngineAPI, busybox_image: str, monkeypatch: Any
) -> None:
    data = DataDirectory(settings.data_path)
    data.create()
    storage = sqlite_storage(settings.db_path)
    await storage.open()
    ours = (await storage.installations.get()).id
    await storage.close()
    assert (await found(settings))["networks"] == (True, "0 of ours, each with its job", "")
    assert (await found(settings))["environments"] == (True, "0, each with its image", "")
    job = new_job_id()
    labels = {INSTALLATION: ours, JOB: job, ATTEMPT: "1", SETUP: "k"}
    name = f"doctor-{job}"
    engine.request("POST", "/networks/create", {}, {"Name": name, "Labels": labels})
    words = [word for label, value in labels.items() for word in ("--label", f"{label}={value}")]
    made = subprocess.run(
        ["docker", "create", *words, busybox_image, "true"], capture_output=True, text=True, check=True
    )
    container = made.stdout.strip()
    commit = ["docker", "commit", container]
    image = subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip()
    try:
        assert (await found(settings))["networks"][0], "it is new: a controller may be at work"
        monkeypatch.setattr(leftovers, "SETTLED", timedelta(0))
        findings = await found(settings)
        assert findings["networks"][2] == f"docker network rm {name}"
        assert findings["environments"][2] == f"docker image rm {image}"
    finally:
        engine.request("DELETE", f"/containers/{container}", {"force": "true"})
        engine.request("DELETE", f"/images/{image}", {"force": "true"})
        engine.request("DELETE", f"/networks/{name}")


@pytest.mark.parametrize(
    ("pools", "slots", "ok"),
    [(None, 26, True), (None, 27, None), ([{"Base": "10.0.0.0/16", "Size": 24}], 252, True), ([], 27, None)],
)
def test_more_jobs_than_networks(pools: Any, slots: int, ok: bool | None) -> None:
    settings = Settings.from_env({"MAX_CONCURRENCY": str(slots), "CI_POOL_SIZE": "8"})
    finding = examine_room(settings, {"DefaultAddressPools": pools})
    assert finding.ok is ok
    assert bool(finding.remedy) is (ok is None)


async def test_containers_that_wait_are_the_pools_and_those_taken_their_jobs(
    settings: Settings, make: Callable[..., str], monkeypatch: Any
) -> None:
    data = DataDirectory(settings.data_path)
    data.create()
    waiting, taken, lost = new_job_id(), new_job_id(), new_job_id()
    storage = sqlite_storage(settings.db_path)
    await storage.open()
    ours = (await storage.installations.get()).id
    lease = await storage.leases.acquire(this_process(), 60)
    assert lease is not None
    job = await storage.jobs.add(NewJob(id=new_job_id(), type="container", submit_time=utc_now()), max_queued=9)
    job = await storage.jobs.update(job, lease, state=State.STARTING, runtime="docker")
    await storage.jobs.update(job, lease, state=State.RUNNING, start_time=utc_now(), start_way=StartWay.WARM)
    await storage.close()
    data.waiting_run(waiting).path.mkdir(parents=True)
    tickets.offer(data.pool, taken)
    assert tickets.claim(data.pool, taken, job.id, 1)
    monkeypatch.setattr(leftovers, "SETTLED", timedelta(0))
    for workload in (waiting, taken):
        make(data.pool, installation=ours, job=workload, attempt="0")
    findings = await found(settings)
    assert findings["containers"] == (True, "1 of ours, each with its job", "")
    name = make(data.pool, installation=ours, job=lost, attempt="0")
    assert (await found(settings))["containers"][2] == f"docker rm --force --volumes {name}"


def test_the_command(settings: Settings) -> None:
    env = {**os.environ, "CI_DB_PATH": str(settings.db_path), "CI_DEFAULT_IMAGE": settings.default_image}
    command = [sys.executable, "-m", "ci_cli", "doctor"]
    done = subprocess.run([*command, "--json"], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert {finding["name"] for finding in json.loads(done.stdout)} >= {
        "server",
        "database",
        "engine",
        "data directory",
    }
    assert (
        "ok       limits in a container  memory"
        in subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    )


async def test_how_containers_are_held_back(settings: Settings, monkeypatch: Any) -> None:
    findings = await found(settings)
    assert findings["system calls"] == (True, "limited by the engine's seccomp profile", "")
    open_network = settings.model_copy(update={"network": "open"})
    assert "CI_NETWORK=open" in (await found(open_network))["network of jobs"][1]

    def refuse() -> None:
        raise CannotFilter("it may not")

    monkeypatch.setattr(PacketFilter, "check", staticmethod(refuse))
    is_fine, message, remedy = (await found(settings))["network of jobs"]
    assert (is_fine, message) == (None, "it may not; jobs reach this machine and private networks")
    assert "CAP_NET_ADMIN" in remedy
    demanded = settings.model_copy(update={"network": "confined"})
    assert (await found(demanded))["network of jobs"][0] is False
