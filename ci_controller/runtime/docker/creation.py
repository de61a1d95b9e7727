"""Makes the containers of workloads, with what they see, and remembers which it has made."""

import asyncio
import json
import re
from typing import Any

from ci_common.attempts.outcomes import UsedImage
from ci_common.run_directory.layout import RunDirectory
from ci_common.runtime_faults import ImageInvalid, ImageNotFound, ImageWithoutShell, RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.spec import DOWNLOADED, ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_controller.run_directory.gate_script import GATE_SCRIPT
from ci_controller.run_directory.preparation import open_to_everyone
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.confining.network import JobNetworks
from ci_controller.runtime.docker.containers import (
    BASE,
    CONSOLE_DEVICES,
    INSTALLATION,
    Mount,
    job_config,
    job_labels,
    name_of_profile,
)
from ci_controller.runtime.docker.engine import Absent, Conflict, Engine, Refusal, Traits
from ci_controller.runtime.docker.environments import DOWNLOADS, keep_downloads
from ci_controller.runtime.docker.images import ImageFacts, Images
from ci_controller.runtime.docker.services import ServiceContainers
from ci_controller.runtime.docker.sharing import Shared
from ci_controller.runtime.enforcement import check_enforceable
from ci_controller.runtime.protocol import WorkloadKey, WorkloadSpec

_REFUSED_STORAGE = re.compile(r"storage-opt|quota", re.IGNORECASE)


class JobContainers:
    """The containers of one installation's workloads.

    Their names follow from the job, so creating twice is noticed by the engine; whose a container is, its labels say.
    One that has the name but not our label is not ours, and is left alone.
    """

    def __init__(
        self,
        settings: Settings,
        installation_id: str,
        *,
        engine: Engine,
        images: Images,
        services: ServiceContainers,
        shared: Shared,
        confinement: Confinement,
        networks: JobNetworks,
    ) -> None:
        self._settings = settings
        self._confinement = confinement
        self._networks = networks
        self._installation_id = installation_id
        self._engine = engine
        self._images = images
        self._services = services
        self._shared = shared
        self.limits_layers = False
        """Whether the engine may be able to limit what a container writes into its own layer."""
        self.made: dict[WorkloadKey, str] = {}
        """The ids of containers made here, which are ours and no other's, until they are removed or forgotten."""
        self._used_images: dict[WorkloadKey, UsedImage] = {}
        """What those were made of."""
        self.unstarted: set[WorkloadKey] = set()
        """Those of them that were never started."""
        self.served: set[WorkloadKey] = set()
        """The workloads for which services were made here."""

    async def profile_of(self, plan: ExecutionPlan, traits: Traits, *, lately: bool) -> str | None:
        """As `ImageStore.profile_of`."""
        if traits.selinux:  # Files that come into a mount later are without the label that lets containers in.
            return None
        try:
            facts = await self._images.facts(plan.image, traits, lately=lately)
            their_facts = await self.facts_of_services(plan, traits, lately=lately)
        except (ImageNotFound, ImageInvalid):
            return None
        if facts.hidden:
            return None
        mounts = self._mounts(RunDirectory(BASE), facts, plan)
        network = "its own" if plan.services else self._networks.name
        limit_layer = self._limits_layer_of(plan)
        config = job_config(plan, {}, mounts, traits, self._confinement, network=network, limit_layer=limit_layer)
        services = [
            json.dumps([plan.services[name].model_dump(mode="json"), name, images.identity, plan.network])
            for name, images in their_facts.items()
        ]
        return name_of_profile(
            config, facts.identity, self._shared.certificates_digest, GATE_SCRIPT.decode(), *services
        )

    async def create(self, spec: WorkloadSpec, traits: Traits) -> None:
        """As `Runtime.create`."""
        check_enforceable(
            spec.plan.limits, traits.unenforced, self._settings, why="the engine's kernel is not set up for it"
        )
        # The engine looks up the name once more.
        facts = await self._images.facts(spec.plan.image, traits, lately=True)
        if not facts.has_shell:
            raise ImageWithoutShell(f"the image {spec.plan.image} has no /bin/sh, which runs the job's script")
        if facts.hidden:
            raise StartFault(
                f"the image {spec.plan.image} has a volume at {', '.join(facts.hidden)}, where it hides the job's own "
                f"files, which are below {BASE}; build the image without that VOLUME, or with one at another path"
            )
        if traits.remapped or traits.rootless or not facts.runs_as_root:
            await in_thread(open_to_everyone, spec.run)
        if self._shared.are_missing():
            await asyncio.to_thread(self._shared.copy)
        try:
            await self._create_all(spec, facts, traits)
        except Conflict as exc:
            await self._check_ours(spec.key, exc)
        except Absent as exc:
            raise ImageNotFound(str(exc)) from exc
        except Refusal as exc:
            raise StartFault(str(exc)) from exc

    async def _create_all(self, spec: WorkloadSpec, facts: ImageFacts, traits: Traits) -> None:
        if not spec.plan.services:
            if spec.plan.network:
                await self._networks.make()
            await self._create(spec, facts, traits, self._networks.name)
            return
        self.served.add(spec.key)
        network = await self._services.make_network(spec.key, spec.plan)
        # Together, as each takes the engine some time.
        made = self._create(spec, facts, traits, network), self._services.make(spec.key, spec.plan, traits)
        for fault in await asyncio.gather(*made, return_exceptions=True):
            if fault is not None:
                raise fault

    async def facts_of_services(self, plan: ExecutionPlan, traits: Traits, *, lately: bool) -> dict[str, ImageFacts]:
        """Return what is known of the services' images, by service. Raises ImageNotFound, ImageInvalid."""
        return {
            name: await self._images.facts(service.image, traits, lately=lately)
            for name, service in plan.services.items()
        }

    async def _create(self, spec: WorkloadSpec, facts: ImageFacts, traits: Traits, network: str | None = None) -> None:
        """Limit the container's own layer as the workspace is where the engine can, which only trying shows."""
        labels, mounts = job_labels(self._installation_id, spec), self._mounts(spec.run, facts, spec.plan)
        if spec.downloads is not None:
            await in_thread(keep_downloads, spec.downloads)  # The engine refuses to mount what is not there.
            place = DOWNLOADS if spec.is_apart else DOWNLOADED
            mounts.append(Mount(spec.downloads, place, read_only=not spec.is_apart))
        limit_layer = self._limits_layer_of(spec.plan)
        config = job_config(
            spec.plan, labels, mounts, traits, self._confinement, network=network, limit_layer=limit_layer
        )
        try:
            async with self._engine.call() as docker:
                container = await docker.containers.create(config, name=self.name_of(spec.key))
            self.made[spec.key] = container.id
            self._used_images[spec.key] = facts.used_as(spec.plan.image)
            self.unstarted.add(spec.key)
        except Refusal as exc:
            if not (limit_layer and _REFUSED_STORAGE.search(str(exc))):
                raise
            self.limits_layers = False
            await self._create(spec, facts, traits, network)

    def _limits_layer_of(self, plan: ExecutionPlan) -> bool:
        return self.limits_layers and plan.limits.workspace is not None

    def _mounts(self, run: RunDirectory, facts: ImageFacts, plan: ExecutionPlan) -> list[Mount]:
        mounts = [Mount(run.path, str(BASE)), *(Mount(run.console, device) for device in CONSOLE_DEVICES)]
        return mounts + self._shared.mounts(facts, plan)

    async def _check_ours(self, key: WorkloadKey, conflict: Conflict) -> None:
        """Return if the container of this name is ours. Raises StartFault if not, RuntimeUnavailable if it has gone."""
        if await self.inspect(key) is not None:
            return
        name = f"^/?{self.name_of(key)}$"  # Docker's names begin with a slash there, and Podman's do not.
        async with self._engine.call() as docker:
            named = await docker.containers.list(all=True, filters=json.dumps({"name": [name]}))
        if named:
            raise StartFault(f"another installation's container is named {self.name_of(key)}") from conflict
        raise RuntimeUnavailable("the job's container was removed while it was to be made again") from conflict

    async def inspect(self, key: WorkloadKey) -> dict[str, Any] | None:
        """Return what the engine says of our container, or None where it says that there is none of ours."""
        try:
            async with self._engine.call() as docker:
                inspected = await docker.containers.container(self.name_of(key)).show()
        except Absent:
            return None
        labels = inspected["Config"].get("Labels") or {}
        return inspected if labels.get(INSTALLATION) == self._installation_id else None

    async def image_of(self, key: WorkloadKey, traits: Traits) -> UsedImage | None:
        """As `Meter.image_of`."""
        if key not in self._used_images and (inspected := await self.inspect(key)) is not None:
            named, identity = inspected["Config"].get("Image") or "", inspected["Image"]
            try:
                facts = await self._images.facts(named, traits, lately=True)
            except (ImageNotFound, ImageInvalid):
                return UsedImage(identity)
            self._used_images[key] = facts.used_as(named) if facts.identity == identity else UsedImage(identity)
        return self._used_images.get(key)

    def name_of(self, key: WorkloadKey) -> str:
        """Return the name of a workload's container."""
        return f"{self._settings.container_prefix}ci-{key.job_id}-{key.attempt}"

    def note_gone(self, key: WorkloadKey) -> None:
        """Forget a container that has been removed."""
        self.made.pop(key, None)
        self._used_images.pop(key, None)
        self.unstarted.discard(key)
        self.served.discard(key)

    def forget_all(self) -> None:
        """Forget what was made here: others may have removed it, and made it again."""
        self.made.clear()
        self.unstarted.clear()
        self.served.clear()
