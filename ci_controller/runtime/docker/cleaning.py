"""Deletes what a job wrote, including files of users other than this process's.

The engine does that, since it is root or can do as much. It unpacks an archive into a container that has the directory
mounted, and so replaces what is there by a file of the archive. No program runs: the container is never started, and
its image is an empty one of our own.
"""

import asyncio
import hashlib
import io
import json
import logging
import os
import tarfile
import time
from pathlib import Path

from ci_common.run_directory.layout import DataDirectory
from ci_common.runtime_faults import RuntimeUnavailable, StartFault
from ci_common.system.processes import ProcessIdentity
from ci_common.system.trees import Folder
from ci_controller.runtime.docker.containers import HELPER, INSTALLATION, JOB, SETUP, Mount, helper_config
from ci_controller.runtime.docker.engine import Absent, Engine, Refusal, Traits

log = logging.getLogger(__name__)

EMPTY_IMAGE = "ci-server-empty:1"
"""The name of an image without files. Another image that has this name is not used."""
_MOUNTED = "/ci-reclaim"
_LONGEST_USE_SECONDS = 600.0


class Cleaner:
    """Deletes, by the engine, what this process has no permission to delete."""

    def __init__(self, engine: Engine, installation_id: str) -> None:
        self._engine = engine
        self._installation_id = installation_id
        self._importing = asyncio.Lock()

    async def delete(self, path: Path, data: DataDirectory, traits: Traits) -> None:
        """Delete what a job has at `path`. No link on the way leads to anything that is not the job's.

        Raises OSError where something is left, RuntimeFault where the engine refuses.
        """
        home = _home_of(path, data)
        name = path.relative_to(home)
        try:
            async with self._importing:
                image = await self._empty_image()
            await self._replace(home, name, image, traits)
        except Refusal as exc:
            raise StartFault(f"the engine cannot delete {home / name}: {exc}") from exc
        with Folder.opened((home / name).parent) as parent:
            parent.delete(name.name)

    async def _empty_image(self) -> str:
        """Return the id of the empty image, after creating it where the engine has none."""
        try:
            return await self._known_image()
        except Absent:
            # The whole name, since Podman puts another registry before a short one, and does not take `tag`.
            params = {"fromSrc": "-", "repo": f"docker.io/library/{EMPTY_IMAGE}"}
            async for line in self._engine.stream("POST", "images/create", params=params, data=_archive()):
                if "error" in line:
                    raise StartFault(f"the engine cannot create an empty image: {line['error']}") from None
            try:
                return await self._known_image()
            except Absent as exc:
                raise RuntimeUnavailable(f"the engine has created an empty image and does not list it: {exc}") from exc

    async def _known_image(self) -> str:
        async with self._engine.call() as docker:
            inspected = await docker.images.inspect(EMPTY_IMAGE)
        if inspected["RootFS"].get("Layers") != [f"sha256:{hashlib.sha256(_archive()).hexdigest()}"]:
            raise Absent(f"what is named {EMPTY_IMAGE} is another image", 404)
        identity: str = inspected["Id"]
        return identity

    async def _replace(self, home: Path, name: Path, image: str, traits: Traits) -> None:
        """Have the engine replace what is there by an empty file of ours."""
        config = helper_config(image, self._installation_id, ["/none"], [Mount(home, _MOUNTED)], traits)
        async with self._engine.helper(config) as helper:
            params = {"path": _MOUNTED}
            await self._engine.send(f"containers/{helper}/archive", params=params, data=_archive(str(name)))

    async def remove_leftovers(self) -> None:
        """Remove the helpers of controllers that died, and none of a controller that is alive."""
        async with self._engine.call() as docker:
            ours = f"{INSTALLATION}={self._installation_id}"
            helpers = await docker.containers.list(all=True, filters=json.dumps({"label": [ours, HELPER]}))
            setups = await docker.containers.list(all=True, filters=json.dumps({"label": [ours, SETUP]}))
        left = [(container, container["Labels"][HELPER]) for container in helpers]
        # The containers of jobs and helpers have this label from their image.
        left += [(each, each["Labels"][SETUP]) for each in setups if not {HELPER, JOB} & each["Labels"].keys()]
        for container, maker in left:
            if not is_in_use(maker, container["Created"]):
                try:
                    await self._engine.remove_container(container.id)
                except Refusal as exc:
                    log.warning("a helper container cannot be removed: %s", exc)


def _home_of(path: Path, data: DataDirectory) -> Path:
    """Return a directory above `path` that is mounted into no job, as narrow a one as there is.

    What lies directly in jobs/ or pool/ no container can replace: it sees its own run directory at most.
    """
    for folder in (data.jobs, data.pool, data.incoming, data.environments, data.downloads):
        if folder in path.parents:
            return folder if path.parent == folder else folder / path.relative_to(folder).parts[0]
    raise ValueError(f"{path} is no job's")


def _archive(*names: str) -> bytes:
    """Return an archive of empty files with these names."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            file = tarfile.TarInfo(name)
            file.uid, file.gid = os.geteuid(), os.getegid()
            archive.addfile(file)
    return content.getvalue()


def is_in_use(maker: str, created: float) -> bool:
    """Return whether the process that made a helper may still need it: judged by age if it cannot be seen from here."""
    try:
        process = ProcessIdentity.from_json(maker)
    except ValueError:
        return False
    return process.is_alive() if process.is_here() else time.time() - created < _LONGEST_USE_SECONDS
