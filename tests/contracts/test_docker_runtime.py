"""The runtime contract on Docker."""

import functools
import hashlib

import pytest

from ci_common.layout import DataDirectory
from ci_common.settings import Settings
from ci_controller.runtime.docker import DockerRuntime
from tests.contracts.runtime_suite import RuntimeContract
from tests.engine import images
from tests.engine.api import require_engine


@functools.cache
def _image() -> str:
    return images.busybox_image(require_engine())


@pytest.mark.docker
class TestDockerRuntime(RuntimeContract):
    @property
    def image(self) -> str:  # type: ignore[override]
        return _image()

    @staticmethod
    async def open_runtime(data: DataDirectory) -> DockerRuntime:
        installation = hashlib.sha256(bytes(data.path)).hexdigest()[:16]
        runtime = DockerRuntime(Settings.from_env(), installation, data)
        await runtime.open()
        return runtime
