"""Deleting what jobs wrote, by a controller that may not delete it itself."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_common.errors import ImageFault
from ci_common.layout import DataDirectory
from ci_controller.runtime.docker.containers import HELPER
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
    @pytest.mark.parametrize("kind", ["the job's image", "an image without rm", "an image that is gone"])
    def test_nothing_is_left(
        self, engine: EngineAPI, open_place: Path, busybox_image: str, no_shell_image: str, kind: str
    ) -> None:
        image = {
            "the job's image": busybox_image,
            "an image without rm": no_shell_image,
            "an image that is gone": "ci-test-no-such-image:v1",
        }[kind]
        socket = urlsplit(engine.url).path
        command = [sys.executable, "-m", docker_member.__name__, socket, str(open_place), image, busybox_image]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["cannot be deleted by itself", "reclaimed"]
        assert containers_labelled(engine, f"ci-server.installation={installation_of(DataDirectory(open_place))}") == []


class TestReclaim(DockerBench):
    async def test_what_is_gone_already(self, runtime: Runtime, tmp_path: Path) -> None:
        await runtime.reclaim(tmp_path / "never was", None)

    async def test_what_cannot_be_deleted_is_told(
        self, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: EngineAPI, data: DataDirectory
    ) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(f"cannot delete {path}")

        for place in ("runtime", "cleaning"):
            monkeypatch.setattr(f"ci_controller.runtime.docker.{place}.delete_tree", refuse)
        tree = tmp_path / "tree"
        (tree / "inner").mkdir(parents=True)
        with pytest.raises(PermissionError):
            await runtime.reclaim(tree, self.image)
        assert list(tree.iterdir()) == [], "the helper did its part"
        assert containers_labelled(engine, f"ci-server.installation={installation_of(data)}", HELPER) == []

    async def test_without_any_image_that_could(
        self, data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(f"cannot delete {path}")

        runtime = await self.open_runtime(data)
        monkeypatch.setattr("ci_controller.runtime.docker.runtime.delete_tree", refuse)
        monkeypatch.setattr(runtime, "_settings", runtime._settings.model_copy(update={"default_image": "no-such:v1"}))
        with pytest.raises(ImageFault, match="no image is here"):
            await runtime.reclaim(tmp_path, None)
        await runtime.close()
