"""Deleting what a job wrote, also where its files belong to users that this process is not."""

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import aiohttp

from ci_common.errors import ImageFault, StartFault
from ci_common.processes import ProcessIdentity
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION, Mount, helper_config
from ci_controller.runtime.docker.engine import Absent, Engine, Refusal, Traits
from ci_controller.runtime.docker.images import Images
from ci_controller.trees import delete_tree

log = logging.getLogger(__name__)

_MOUNTED = "/ci-reclaim"
_LONGEST_USE_SECONDS = 600.0


class Cleaner:
    """Deletes trees through helper containers, for a process that may not delete them itself."""

    def __init__(self, engine: Engine, images: Images, installation_id: str) -> None:
        self._engine = engine
        self._images = images
        self._installation_id = installation_id

    async def delete_as_root(self, path: Path, images: Iterable[str], traits: Traits) -> None:
        """Delete the tree at `path` with `rm` of the first of `images` that the engine has and that can do it.

        The image is anybody's, so its program sees nothing but the tree, and what it says is not believed. Raises
        OSError where something is left, RuntimeFault where none of the images could be used.
        """
        problem: Exception = ImageFault(f"no image is here whose rm could delete {path}")
        for image in images:
            if not await self._images.exists(image):
                continue
            try:
                await self._empty(path, image, traits)
                return await asyncio.to_thread(delete_tree, path)
            except Refusal as exc:
                problem = StartFault(f"{image} cannot be used to delete {path}: {exc}")
            except OSError as exc:
                problem = exc
        raise problem

    async def _empty(self, path: Path, image: str, traits: Traits) -> None:
        # rm empties the directory and then fails to remove the mount itself, so its exit status tells nothing.
        command = ["rm", "-rf", _MOUNTED]
        config = helper_config(image, self._installation_id, command, [Mount(path, _MOUNTED)], traits)
        async with self._engine.call() as docker:
            helper = await docker.containers.create(config)
        try:
            async with self._engine.call() as docker:
                await helper.start()
            async with self._engine.call(patience=None) as docker:
                await docker.containers.container(helper.id).wait(timeout=aiohttp.ClientTimeout())
        except Absent:
            pass  # It has ended and the engine has removed it already.
        finally:
            await self._engine.remove_container(helper.id)

    async def remove_leftovers(self) -> None:
        """Remove helpers that a controller left behind when it died, but none of one that lives."""
        async with self._engine.call() as docker:
            filters = {"label": [f"{INSTALLATION}={self._installation_id}", HELPER]}
            left = await docker.containers.list(all=True, filters=json.dumps(filters))
        for container in left:
            if not _is_in_use(container["Labels"][HELPER], container["Created"]):
                try:
                    await self._engine.remove_container(container.id)
                except Refusal as exc:
                    log.warning("a container that has helped cannot be removed: %s", exc)


def _is_in_use(maker: str, created: float) -> bool:
    """Tell whether whoever made a helper may still need it; of one that cannot be seen from here, its age tells."""
    try:
        process = ProcessIdentity.from_json(maker)
    except ValueError:
        return False
    return process.is_alive() if process.is_here() else time.time() - created < _LONGEST_USE_SECONDS
