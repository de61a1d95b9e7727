"""Fixtures of the end-to-end tests: the real service as a process, once per runtime."""

import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ci_selftest.faults.held_ports import held_port
from ci_selftest.scratch import Scratch, kill_processes_of
from tests.helpers.http import Wire
from tests.helpers.service import Service, containers

Starter = Callable[..., Service]
Connect = Callable[[str], Awaitable[Wire]]


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def runtime(request: pytest.FixtureRequest) -> str:
    """The runtime that the test is run for."""
    return str(request.param)


@pytest.fixture
def shell_image(request: pytest.FixtureRequest, runtime: str) -> str:
    """A small image with a shell; its name means nothing to processes."""
    return str(request.getfixturevalue("busybox_image")) if runtime == "docker" else "none"


@pytest.fixture
def port() -> Iterator[str]:
    """A port of the loopback interface for a service that is to come back on it."""
    with held_port() as port:
        yield str(port)


@pytest.fixture
def environment(request: pytest.FixtureRequest, runtime: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of an installation on temporary paths. Its jobs end with the test."""
    values = {
        "CI_DB_PATH": str(tmp_path / "ci_jobs.db"),
        "CI_RUNTIME": runtime,
        "CI_CONTAINER_PREFIX": f"e2e-{secrets.token_hex(4)}-",
        "CI_RECONCILE_INTERVAL": "1",
        "CI_STOP_GRACE": "3",
        "CI_POOL_SIZE": "0",
        "CI_SERVER_URL": "",
        "PORT": "0",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    if runtime == "docker":
        values["CI_DEFAULT_IMAGE"] = str(request.getfixturevalue("python_image"))
    yield values
    kill_processes_of(Scratch(tmp_path))  # Jobs outlive the servers that were killed.
    if runtime == "docker" and (left := containers(values["CI_CONTAINER_PREFIX"])):
        subprocess.run(["docker", "rm", "--force", *left], capture_output=True, check=False)


@pytest.fixture
def as_a_person(tmp_path: Path) -> dict[str, str]:
    """The variables of a person with a configuration and a database of their own, and without a server or a key."""
    return {
        "CI_DB_PATH": str(tmp_path / "ci_jobs.db"),
        "CI_RUNTIME": "process",
        "CI_SERVER_URL": "",
        "CI_TOKEN": "",
        "CI_API_KEY": "",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Starter]:
    """A function that starts the service: `start(*command, **settings)`. What it started is ended with the test."""
    started: list[Service] = []

    def starter(*command: str, **settings: str) -> Service:
        service = Service(environment | settings, *command)
        started.append(service)
        return service.start()

    yield starter
    for service in started:
        service.close()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that connects to a URL's server. What it connected is closed with the test."""
    wires: list[Wire] = []

    async def connect(url: str) -> Wire:
        wires.append(await Wire.to(url))
        return wires[-1]

    yield connect
    for wire in wires:
        wire.close()


@pytest.fixture
def service(start: Starter) -> Service:
    """`ci serve` on a free port."""
    return start()
