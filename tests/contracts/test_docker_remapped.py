"""Containers whose root is no root of this machine: an engine with `userns-remap`."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from ci_common.run_directory.layout import DataDirectory
from ci_controller.runtime.docker import DockerRuntime
from tests.contracts.docker_bench import docker_runtime
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine import images
from tests.engine.api import EngineAPI
from tests.engine.daemon import private_daemon
from tests.engine.packages import can_install


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineAPI]:
    if not can_install():
        pytest.skip("only root on Debian can start an engine of its own")
    with private_daemon(**{"userns-remap": "default"}) as daemon:
        yield daemon.engine


@pytest_asyncio.fixture
async def runtime(engine: EngineAPI, tmp_path: Path) -> AsyncIterator[DockerRuntime]:
    data = DataDirectory(tmp_path / "data")
    data.jobs.mkdir(parents=True)
    runtime = docker_runtime(data, docker_url=engine.url)
    await runtime.open()
    yield runtime
    await runtime.close()


@pytest.mark.docker
@pytest.mark.slow
class TestRemapped:
    async def test_root_in_a_job_is_another_user_here(
        self, runtime: DockerRuntime, engine: EngineAPI, tmp_path: Path
    ) -> None:
        data = DataDirectory(tmp_path / "data")
        made = "id -u; cat /proc/self/uid_map; mkdir own; echo x >own/file; chmod 700 own"
        one = Trial(runtime, make_spec(runtime, data, images.busybox_image(engine), made))
        ended = await one.execute()
        assert ended.exit_code == 0, one.run.log.read_text()
        user, mapped = one.run.log.read_text().splitlines()
        assert user == "0"
        assert int(mapped.split()[1]) > 0, "which is no root of this machine"
        assert (one.run.workspace / "own").stat().st_uid == int(mapped.split()[1]) != os.getuid()
        await runtime.remove(one.key)
        await runtime.delete_tree(one.run.path)
        assert not one.run.path.exists()
