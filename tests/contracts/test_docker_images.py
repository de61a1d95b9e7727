"""Images: how they are got from a registry, and each way in which they cannot be."""

import asyncio
import posixpath
import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import (
    ImageInvalid,
    ImageNotFound,
    ImagePullFailed,
    ImageWithoutShell,
    RuntimeUnavailable,
    StartFault,
)
from ci_controller.policy import WorkloadPhase
from ci_controller.runtime.docker.images import Images
from ci_controller.runtime.protocol import EngineStatus, Runtime
from tests.contracts.docker_bench import DockerBench, containers_labelled, remove_image
from tests.contracts.runtime_suite.bench import MakeTrial
from tests.contracts.runtime_suite.trial import Trial, make_spec
from tests.engine.api import EngineAPI
from tests.engine.images import volume_image
from tests.engine.registry import NOISE, NOISE_LAYER, Registry, digest_of, layer_with, serve_registry, served_image
from tests.helpers.waiting import PATIENCE, eventually


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[Registry]:
    async with serve_registry() as registry:
        yield registry


@pytest.fixture
def served(registry: Registry, engine: EngineAPI) -> Iterator[str]:
    """An image with a large layer, which the engine does not have."""
    with served_image(registry, engine) as image:
        yield image


class TestPull(DockerBench):
    async def test_a_pulled_image_runs(self, runtime: Runtime, served: str, data: object) -> None:
        assert not await runtime.has_image(served)
        lines: list[str] = []
        await runtime.pull(served, lines.append)
        assert await runtime.has_image(served)
        one = Trial(runtime, make_spec(runtime, data, served, "ls -l /noise | tr -s ' ' | cut -d' ' -f5"))
        assert await one.execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
        assert one.run.log.read_text() == f"{len(NOISE)}\n"
        await runtime.remove(one.key)

    async def test_progress_is_told_while_it_lasts(self, runtime: Runtime, registry: Registry, served: str) -> None:
        lines: list[str] = []
        with registry.stalled() as stalled:
            pull = asyncio.create_task(runtime.pull(served, lines.append))
            await stalled.wait()
            await eventually(lambda: lines, "there is progress")
        await pull
        first = lines[0].split()
        assert first[1:] == ["of", first[2], "MB"]
        assert 0 <= float(first[0]) < float(first[2]) <= 30

    async def test_a_slow_pull_delays_nothing_else(
        self, runtime: Runtime, registry: Registry, served: str, trial: MakeTrial
    ) -> None:
        with registry.stalled() as stalled:
            pull = asyncio.create_task(runtime.pull(served, lambda line: None))
            await stalled.wait()
            assert await trial("true").execute() == EngineStatus(WorkloadPhase.EXITED, exit_code=0)
            assert not pull.done()
        await pull

    async def test_a_cancelled_pull_ends(self, runtime: Runtime, registry: Registry, served: str) -> None:
        with registry.stalled() as stalled:
            pull = asyncio.create_task(runtime.pull(served, lambda line: None))
            await stalled.wait()
            pull.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pull
        # The engine hears of it when the registry's next bytes come.
        async with asyncio.timeout(PATIENCE):
            await registry.connections_lost.wait()
        assert not await runtime.has_image(served)

    async def test_a_layer_is_transferred_once_for_many_callers(
        self, runtime: Runtime, registry: Registry, served: str
    ) -> None:
        with registry.stalled() as stalled:
            pulls = [asyncio.create_task(runtime.pull(served, lambda line: None)) for _ in range(5)]
            await stalled.wait()
            await eventually(
                lambda: sum(n for what, n in registry.requests.items() if "manifests/v1" in what) >= 5, "all have asked"
            )
        await asyncio.gather(*pulls)
        assert registry.requests[f"GET blobs/{digest_of(NOISE_LAYER)}"] == 1

    async def test_by_digest(self, runtime: Runtime, registry: Registry, served: str, engine: EngineAPI) -> None:
        by_digest = f"{served.rpartition(':')[0]}@{registry.digest('some/image', 'v1')}"
        with_tag = f"{served}@{registry.digest('some/image', 'v1')}"
        for image in (by_digest, with_tag):
            await runtime.pull(image, lambda line: None)
            assert await runtime.has_image(image)
        remove_image(engine, by_digest)

    async def test_without_a_tag_it_is_latest_alone(self, runtime: Runtime, registry: Registry, served: str) -> None:
        storage = served.rpartition(":")[0]
        with pytest.raises(ImageNotFound):
            await runtime.pull(storage, lambda line: None)
        assert not any("tags" in what for what in registry.requests)


class TestFaults(DockerBench):
    async def test_no_such_tag(self, runtime: Runtime, registry: Registry, served: str) -> None:
        with pytest.raises(ImageNotFound, match=f"{registry.address}/some/image:v2"):
            await runtime.pull(f"{registry.address}/some/image:v2", lambda line: None)

    async def test_no_such_digest(self, runtime: Runtime, registry: Registry, served: str) -> None:
        with pytest.raises(ImageNotFound):
            await runtime.pull(f"{registry.address}/some/image@sha256:{'0' * 64}", lambda line: None)

    @pytest.mark.parametrize("image", ["UPPER", "a b", "image@sha256:12", "", "../../containers", "image:tag?x=1"])
    async def test_no_reference(self, runtime: Runtime, image: str) -> None:
        assert not await runtime.has_image(image)
        with pytest.raises(ImageInvalid):
            await runtime.pull(image, lambda line: None)

    async def test_no_registry(self, runtime: Runtime, registry: Registry) -> None:
        async with serve_registry() as gone:
            image = f"{gone.address}/some/image:v1"
        with pytest.raises(ImagePullFailed):
            await runtime.pull(image, lambda line: None)

    async def test_a_registry_that_breaks_off(self, runtime: Runtime, registry: Registry, served: str) -> None:
        registry.failing = 500
        with pytest.raises(ImagePullFailed):
            await runtime.pull(served, lambda line: None)
        assert not await runtime.has_image(served)

    async def test_an_image_for_another_machine(self, runtime: Runtime, registry: Registry, engine: EngineAPI) -> None:
        """Engines pull it and may run it by emulation, so only its start can tell."""
        image = registry.add_image("other", "v1", [layer_with("noise", b"x")], architecture="s390x")
        await runtime.pull(image, lambda line: None)
        remove_image(engine, image)

    async def test_creating_without_the_image(self, runtime: Runtime, data: object) -> None:
        with pytest.raises(ImageNotFound, match="no-such-image"):
            await runtime.create(make_spec(runtime, data, "ci-test-no-such-image:v1", "true"))

    async def test_without_a_shell(
        self, runtime: Runtime, data: object, no_shell_image: str, engine: EngineAPI
    ) -> None:
        spec = make_spec(runtime, data, no_shell_image, "true")
        for _ in range(2):
            with pytest.raises(ImageWithoutShell, match="/bin/sh"):
                await runtime.create(spec)
        assert await runtime.list_workloads() == []
        assert containers_labelled(engine, f"ci-server.job={spec.key.job_id}") == []

    @pytest.mark.parametrize("path", ["/ci/workspace", "/ci/./workspace/", "/ci/log", "ci/workspace/deep"])
    async def test_a_volume_that_would_hide_the_project_is_told(
        self, runtime: Runtime, data: object, engine: EngineAPI, path: str
    ) -> None:
        spec = make_spec(runtime, data, volume_image(engine, path), "true")
        where = posixpath.normpath(f"/{path.lstrip('/')}")
        with pytest.raises(StartFault, match=f"has a volume at {re.escape(where)}, where it hides"):
            await runtime.create(spec)
        assert await runtime.list_workloads() == []
        assert await runtime.profile_of(spec.plan) is None, "none waits for such a job either"

    @pytest.mark.parametrize("path", ["/data", "/ci", "/cinema"])
    async def test_a_volume_elsewhere_hides_nothing(
        self, runtime: Runtime, data: object, engine: EngineAPI, path: str
    ) -> None:
        one = Trial(runtime, make_spec(runtime, data, volume_image(engine, path), "cat there"))
        (one.workspace / "there").write_text("yes")
        assert (await one.execute()).exit_code == 0
        assert one.run.log.read_text() == "yes"
        await runtime.remove(one.key)

    async def test_a_probe_that_is_removed_tells_nothing_of_the_image(
        self, runtime: Runtime, data: DataDirectory, engine: EngineAPI, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make_spec(runtime, data, self.image, "true")
        look = Images._has_file

        async def look_too_late(images: Images, container: str, path: str) -> bool:
            engine.request("DELETE", f"/containers/{container}", {"force": "1"})
            return await look(images, container, path)

        monkeypatch.setattr(Images, "_has_file", look_too_late)
        with pytest.raises(RuntimeUnavailable, match="removed"):
            await runtime.create(spec)
        monkeypatch.undo()
        await runtime.create(spec)
        await runtime.remove(spec.key)
