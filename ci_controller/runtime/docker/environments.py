"""Prepared environments as images: a setup runs in a container of its own, which becomes a layer.

That container sees the inputs of the setup and nothing else of a project, and no job's code ever runs in it. So what it
leaves depends on nothing that is not in its key, except for the network and the clock.
"""

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path

from ci_common.environments import Comparison
from ci_common.jobs import new_job_id
from ci_common.run_directory.attributes import make_place_of_trees
from ci_common.run_directory.layout import RunDirectory
from ci_common.runtime_faults import ImageInvalid, ImageNotFound, RuntimeUnavailable, SetupFailed
from ci_common.spec import ExecutionPlan, Limits
from ci_common.system.processes import this_process
from ci_common.system.tasks import in_thread
from ci_common.system.trees import Folder
from ci_common.times import uptime
from ci_controller.run_directory.preparation import open_to_everyone, write_setup_script
from ci_controller.runtime.comparing.process import compare_archives
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.confining.network import JobNetworks
from ci_controller.runtime.docker.containers import BASE, INSTALLATION, SETUP, Mount, helper_config, job_config
from ci_controller.runtime.docker.engine import Absent, Engine, Refusal, Traits
from ci_controller.runtime.docker.images import ImageFacts, Images
from ci_controller.runtime.docker.sharing import Shared
from ci_controller.runtime.protocol import PreparedEnvironment
from ci_controller.runtime.setups import LOOK_SECONDS, check_ended, check_running, downloading, keeping_compiled

log = logging.getLogger(__name__)

DOWNLOADS = "/ci-downloads"
"""Where a setup that runs apart from its job finds what setups of the same project have downloaded."""

CPU_SHARES = 512
"""The weight of a setup beside jobs, which have 1024: as long as it is not done, they run their setups themselves."""


class EnvironmentImages:
    """The images of one installation's prepared environments."""

    def __init__(
        self,
        engine: Engine,
        installation_id: str,
        images: Images,
        shared: Shared,
        *,
        confinement: Confinement,
        networks: JobNetworks,
    ) -> None:
        self._engine = engine
        self._installation_id = installation_id
        self._images = images
        self._shared = shared
        self._confinement = confinement
        self._networks = networks
        self._repository = f"ci-environment-{installation_id[:12].lower()}"

    async def basis_of(self, plan: ExecutionPlan, traits: Traits) -> str | None:
        """As `EnvironmentMaker.basis_of`."""
        try:
            facts = await self._images.facts(plan.image, traits, lately=True)
        except (ImageNotFound, ImageInvalid):
            return None
        if facts.hidden or facts.has_volumes or not facts.has_shell:
            return None
        mounts = self._mounts(Path("/"), facts, plan)
        # Limits do not change what a setup makes, so those that differ share it.
        plan = plan.model_copy(update={"limits": Limits()})
        config = job_config(plan, {}, mounts, traits, self._confinement.without_limits())
        return _basis(facts.identity, config, self._shared.variables(), self._shared.certificates_digest)

    async def make(
        self, key: str, plan: ExecutionPlan, directory: Path, downloads: Path, traits: Traits
    ) -> PreparedEnvironment:
        """As `EnvironmentMaker.make_environment`."""
        facts = await self._images.facts(plan.image, traits)
        run = RunDirectory(directory)
        environment = self._shared.variables() | downloading(DOWNLOADS)
        script = write_setup_script(plan, base=str(BASE), environment=environment, then=keeping_compiled(plan))
        await in_thread(_write_setup, run, script, downloads)
        if traits.remapped or traits.rootless or not facts.runs_as_root:
            await in_thread(open_to_everyone, run)
        try:
            mounts = [*self._mounts(directory, facts, plan), Mount(downloads, DOWNLOADS)]
            reference, seconds = await self._run(key, plan, directory, mounts, traits)
            size = await self._size(reference)
        except Refusal as exc:
            raise SetupFailed(str(exc)) from exc
        return PreparedEnvironment(reference, max(0, size - facts.size), seconds)

    def _mounts(self, directory: Path, facts: ImageFacts, plan: ExecutionPlan) -> list[Mount]:
        return [Mount(directory, str(BASE)), *self._shared.mounts(facts, plan)]

    async def _run(
        self, key: str, plan: ExecutionPlan, directory: Path, mounts: list[Mount], traits: Traits
    ) -> tuple[str, float]:
        """Run the script in `directory`, and return the id of the image that it made, and the seconds that it took.

        Raises SetupFailed, Refusal, RuntimeUnavailable.
        """
        labels = {INSTALLATION: self._installation_id, SETUP: this_process().to_json()}
        if plan.network:
            await self._networks.make()
        config = job_config(plan, labels, mounts, traits, self._confinement, network=self._networks.name)
        config["HostConfig"]["CpuShares"] = CPU_SHARES
        name = f"ci-setup-{new_job_id()}"
        try:
            async with self._engine.call() as docker:
                await docker.containers.create(config, name=name)
                await docker.containers.container(name).start()
            began = uptime()
            status = await self._wait(name, plan, directory / "log", began)
            seconds = uptime() - began
            check_ended(status, plan, directory)
            return await self._commit(name, key), seconds
        finally:
            await asyncio.shield(self._remove(name))

    async def _remove(self, name: str) -> None:
        try:
            await self._engine.remove_container(name)
        except RuntimeUnavailable as exc:
            log.warning("the container of a setup is left, and is removed when a controller starts: %s", exc)

    async def _wait(self, name: str, plan: ExecutionPlan, output: Path, began: float) -> int:
        async with self._engine.call(patience=None) as docker:
            waiting = asyncio.ensure_future(docker.containers.container(name).wait())
            try:
                while not (await asyncio.wait({waiting}, timeout=LOOK_SECONDS))[0]:
                    check_running(plan, output, began)
                return int(waiting.result()["StatusCode"])
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    async def _commit(self, name: str, key: str) -> str:
        """Make an image of a container that has ended, so nothing can write to it any more."""
        labels = {INSTALLATION: self._installation_id, SETUP: key}
        async with self._engine.call(patience=None) as docker:
            container = docker.containers.container(name)
            made = await container.commit(repository=self._repository, tag=key, config={"Labels": labels}, pause=False)
        return str(made["Id"])

    async def compare(self, reference: str, container: str, traits: Traits) -> Comparison:
        """Return what differs between an image and a container that has ended, or in which nothing happens any more.

        Raises SetupFailed, ImageNotFound, RuntimeUnavailable.
        """
        # The engine tells the files of containers only, so the image gets one, which never runs.
        config = helper_config(reference, self._installation_id, ["/none"], [], traits)
        try:
            async with self._engine.helper(config) as helper:
                return await compare_archives(*(self._files_of(name) for name in (helper, container)))
        except Absent as exc:
            raise ImageNotFound(f"the prepared environment has been removed: {exc}") from exc

    def _files_of(self, container: str) -> AsyncGenerator[bytes, None]:
        return self._engine.chunks(f"containers/{container}/export")

    async def _size(self, reference: str) -> int:
        """Return the bytes of all layers of an image."""
        async with self._engine.call() as docker:
            inspected = await docker.images.inspect(reference)
        return int(inspected.get("Size", 0))

    async def has(self, reference: str, plan: ExecutionPlan, traits: Traits) -> bool:
        """As `EnvironmentMaker.has_environment`."""
        return await self._images.has_prepared(reference, plan.image, traits)

    async def references(self) -> set[str]:
        """Return the ids of all images of prepared environments, and of no image that has another name, too."""
        filters = {"label": [f"{INSTALLATION}={self._installation_id}", SETUP]}
        async with self._engine.call() as docker:
            images = await docker.images.list(filters=filters)
        return {image["Id"] for image in images if self._is_ours(image.get("RepoTags") or ())}

    def _is_ours(self, names: list[str] | tuple[str, ...]) -> bool:
        return all(name == "<none>:<none>" or name.startswith(f"{self._repository}:") for name in names)

    async def remove(self, reference: str) -> None:
        """Remove an image, if it is there. Raises Conflict where containers of it are left."""
        with suppress(Absent):
            async with self._engine.call() as docker:
                await docker.images.delete(reference)


def _basis(identity: str, config: Mapping[str, object], environment: Mapping[str, str], certificates: str) -> str:
    """Return the digest of what a setup's outcome depends on besides the plan."""
    parts = [identity, config, dict(environment), certificates, os.uname().machine]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def keep_downloads(downloads: Path) -> None:
    """Make the directory, or note that it is used."""
    make_place_of_trees(downloads.parent)
    downloads.mkdir(exist_ok=True)
    downloads.chmod(0o777)  # The image may have any user; the data directory above is closed to others.
    os.utime(downloads)


def _write_setup(run: RunDirectory, script: bytes, downloads: Path) -> None:
    keep_downloads(downloads)
    with Folder.opened(run.path) as folder:
        folder.make_folder(run.workspace.name)
        folder.make_file(run.log.name)
        folder.write(run.script.name, script)
