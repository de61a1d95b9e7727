"""The bench of tests that run on Docker."""

import functools
import hashlib
import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.runtime.docker import DockerRuntime
from ci_controller.runtime.protocol import WorkloadKey
from tests.contracts.runtime_suite.bench import RuntimeBench
from tests.engine import images
from tests.engine.api import EngineAPI, require_engine


@functools.cache
def busybox() -> str:
    """Return the image that tests run in."""
    return images.busybox_image(require_engine())


def installation_of(data: DataDirectory) -> str:
    """Return the installation id that belongs to a data directory."""
    return hashlib.sha256(bytes(data.path)).hexdigest()[:16]


def container_name(key: WorkloadKey) -> str:
    """Return the name of a workload's container, for settings without a prefix."""
    return f"ci-{key.job_id}-{key.attempt}"


def inspect_container(engine: EngineAPI, key: WorkloadKey) -> dict[str, Any]:
    """Return what the engine says of a workload's container."""
    inspected: dict[str, Any] = json.loads(engine.request("GET", f"/containers/{container_name(key)}/json"))
    return inspected


def containers_labelled(engine: EngineAPI, *labels: str) -> list[dict[str, Any]]:
    """Return all containers that have these labels."""
    query = {"all": "1", "filters": json.dumps({"label": labels})}
    listed: list[dict[str, Any]] = json.loads(engine.request("GET", "/containers/json", query))
    return listed


def signals_sent(engine: EngineAPI, key: WorkloadKey) -> list[str]:
    """Return the numbers of the signals that the engine has sent to a workload's first process in the last minute."""
    now = time.time()
    filters = {"event": ["kill"], "container": [container_name(key)]}
    query = {"since": f"{now - 60:.0f}", "until": f"{now:.9f}", "filters": json.dumps(filters)}
    events = engine.request("GET", "/events", query).splitlines()
    return [json.loads(event)["Actor"]["Attributes"]["signal"] for event in events]


def remove_image(engine: EngineAPI, image: str) -> None:
    """Remove an image, if the engine has it."""
    if engine.has_image(image):
        engine.request("DELETE", f"/images/{quote(image, safe='/:@')}", {"force": "1"})


def docker_runtime(data: DataDirectory, **settings: Any) -> DockerRuntime:
    """Return a runtime that is not open yet."""
    return DockerRuntime(Settings.from_env(**settings), installation_of(data), data)


@pytest.mark.docker
class DockerBench(RuntimeBench):
    @property
    def image(self) -> str:  # type: ignore[override]
        return busybox()

    @staticmethod
    async def open_runtime(data: DataDirectory) -> DockerRuntime:
        runtime = docker_runtime(data)
        await runtime.open()
        return runtime
