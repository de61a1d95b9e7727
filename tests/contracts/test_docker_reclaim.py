"""Deleting what jobs wrote, by a controller that may not delete it itself."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeFault, StartFault
from ci_controller.runtime.docker import DockerRuntime
from ci_controller.runtime.docker.cleaning import EMPTY_IMAGE
from ci_controller.runtime.docker.containers import HELPER
from ci_controller.runtime.docker.engine import Refusal
from ci_controller.runtime.protocol import Runtime
from tests.contracts import docker_member
from tests.contracts.docker_bench import DockerBench, containers_labelled, installation_of
from tests.engine.api import EngineAPI

ROOT = Path(__file__).parents[2]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that any user gets to; pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="ci-member-") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        data.mkdir()
        yield data


@pytest.mark.docker
class TestMemberOfTheGroup:
    def test_nothing_is_left(self, engine: EngineAPI, open_place: Path, busybox_image: str) -> None:
        socket = urlsplit(engine.url).path
        command = [sys.executable, "-m", docker_member.__name__, socket, str(open_place), busybox_image]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["cannot be deleted by itself", "reclaimed"]
        assert containers_labelled(engine, f"ci-server.installation={installation_of(DataDirectory(open_place))}") == []


class TestReclaim(DockerBench):
    """What this process may not delete, the engine deletes; a root process is kept from doing it itself here."""

    @pytest.fixture
    async def unable(self, data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerRuntime]:
        def refuse(path: Path) -> None:
            raise PermissionError(f"cannot delete {path}")

        monkeypatch.setattr("ci_controller.runtime.docker.runtime.delete_tree", refuse)
        runtime = await self.open_runtime(data)
        yield runtime
        await runtime.close()

    async def test_what_is_gone_already(self, runtime: Runtime, data: DataDirectory) -> None:
        await runtime.delete_tree(data.job("never was"))

    @pytest.mark.parametrize("place", ["jobs/j/1/workspace", "jobs/j/1/a\nb\udcff", "jobs/j/1", "jobs/j", "pool/w"])
    async def test_the_engine_deletes_a_tree_of_any_depth(
        self, unable: DockerRuntime, data: DataDirectory, tmp_path: Path, engine: EngineAPI, place: str
    ) -> None:
        canary = tmp_path / "canary"
        (canary / "inner").mkdir(parents=True)
        tree = data.path / place
        (tree / "inner").mkdir(parents=True)
        (tree / "inner" / "link").symlink_to(canary)
        os.mkfifo(tree / "pipe")
        beside = tree.with_name("beside")
        beside.mkdir()
        await unable.delete_tree(tree)
        assert os.listdir(tree.parent) == ["beside"]
        assert (canary / "inner").is_dir()
        assert containers_labelled(engine, f"ci-server.installation={installation_of(data)}", HELPER) == []

    async def test_a_link_is_deleted_and_not_followed(
        self, unable: DockerRuntime, data: DataDirectory, tmp_path: Path
    ) -> None:
        (tmp_path / "canary" / "inner").mkdir(parents=True)
        run = data.run("j", 1)
        run.path.mkdir(parents=True)
        run.workspace.symlink_to(tmp_path / "canary")
        await unable.delete_tree(run.workspace)
        assert not os.path.lexists(run.workspace)
        assert (tmp_path / "canary" / "inner").is_dir()

    async def test_a_run_directory_that_is_a_link_leads_nowhere(
        self, unable: DockerRuntime, data: DataDirectory, tmp_path: Path
    ) -> None:
        (tmp_path / "canary" / "workspace" / "inner").mkdir(parents=True)
        data.job("j").mkdir(parents=True)
        data.run("j", 1).path.symlink_to(tmp_path / "canary")
        with pytest.raises((OSError, RuntimeFault)):
            await unable.delete_tree(data.run("j", 1).workspace)
        assert (tmp_path / "canary" / "workspace" / "inner").is_dir()

    async def test_another_image_of_that_name_is_not_used(
        self, unable: DockerRuntime, data: DataDirectory, engine: EngineAPI
    ) -> None:
        """A user of the engine, or a registry, could give the name to anything."""
        repository, _, tag = EMPTY_IMAGE.partition(":")
        engine.request("POST", f"/images/{self.image}/tag", {"repo": repository, "tag": tag})
        data.job("j").mkdir(parents=True)
        await unable.delete_tree(data.job("j"))
        assert not data.job("j").exists()
        inspected = json.loads(engine.request("GET", f"/images/{EMPTY_IMAGE}/json"))
        assert inspected["Size"] == 0
        assert EMPTY_IMAGE not in json.loads(engine.request("GET", f"/images/{self.image}/json"))["RepoTags"]

    async def test_what_the_engine_refuses_is_told(
        self, unable: DockerRuntime, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refuse(*args: object, **more: object) -> None:
            raise Refusal("not today", 500)

        monkeypatch.setattr(unable._cleaner._engine, "send", refuse)
        data.job("j").mkdir(parents=True)
        with pytest.raises(StartFault, match=r"the engine cannot delete .*: not today"):
            await unable.delete_tree(data.job("j"))
