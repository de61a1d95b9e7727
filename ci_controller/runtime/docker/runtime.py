"""The runtime of containers."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from ci_common.attempts.outcomes import Sample, UsedImage
from ci_common.environments import Comparison
from ci_common.run_directory.attributes import place_apart
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory.preparation import mark_stopping
from ci_controller.runtime.docker.cleaning import Cleaner
from ci_controller.runtime.docker.confining.limits import Confinement
from ci_controller.runtime.docker.confining.network import NO_NETWORK, JobNetworks
from ci_controller.runtime.docker.containers import (
    BASE,
    INSTALLATION,
    JOB,
    SERVICE,
    key_of,
    listed_workload_of,
    sample_of,
    status_of,
)
from ci_controller.runtime.docker.creation import JobContainers
from ci_controller.runtime.docker.engine import PATIENCE, PING_PATIENCE, Absent, Conflict, Engine, Refusal, Traits
from ci_controller.runtime.docker.environments import DOWNLOADS, EnvironmentImages
from ci_controller.runtime.docker.images import Images
from ci_controller.runtime.docker.pulls import pull_image
from ci_controller.runtime.docker.readiness import check_of
from ci_controller.runtime.docker.services import ServiceContainers
from ci_controller.runtime.docker.sharing import Shared
from ci_controller.runtime.docker.signalling import terminate
from ci_controller.runtime.protocol import (
    EngineStatus,
    ListedWorkload,
    PreparedEnvironment,
    Progress,
    Surroundings,
    WorkloadKey,
    WorkloadSpec,
)
from ci_controller.runtime.setups import downloading

log = logging.getLogger(__name__)

_EVENTS = ["start", "die", "oom", "destroy"]
_ABSENT = EngineStatus(WorkloadPhase.ABSENT)


class DockerRuntime:
    """Runs jobs in containers of the engine that DOCKER_HOST names, or of the usual one. Keeps `Runtime`'s promises."""

    name = "docker"
    isolated = True
    has_console = True
    can_wait = True

    def __init__(
        self, settings: Settings, installation_id: str, data: DataDirectory, *, patience: float = PATIENCE
    ) -> None:
        """`patience` is how many seconds the engine may take to answer. Raises SettingsError."""
        self._engine = engine = Engine(settings.docker_url, patience=patience)
        self._images = images = Images(engine, installation_id)
        self._cleaner = Cleaner(engine, installation_id)
        self._shared = shared = Shared(settings, data)
        confinement = Confinement(settings)
        self._networks = networks = JobNetworks(engine, installation_id, settings)
        self._environments = EnvironmentImages(
            engine, installation_id, images, shared, confinement=confinement, networks=networks
        )
        self._services = services = ServiceContainers(
            engine, installation_id, settings.container_prefix, confinement, networks
        )
        self._containers = JobContainers(
            settings,
            installation_id,
            engine=engine,
            images=images,
            services=services,
            shared=shared,
            confinement=confinement,
            networks=networks,
        )
        self._patience = patience
        self._label_filter = [f"{INSTALLATION}={installation_id}", JOB]
        self._data = data
        self._known_traits: Traits | None = None

    async def open(self) -> None:
        if self._known_traits is not None and await self._answers():
            return
        self._known_traits = await self._engine.open()
        self._containers.limits_layers = self._known_traits.may_limit_layers
        self._networks.note_engine(self._known_traits)
        await in_thread(_place_layers_apart, self._known_traits)
        try:
            self._shared.copy()
        except OSError as exc:  # As on a full disk. The engine is there all the same, and jobs may find the copy yet.
            log.warning("what jobs share cannot be copied: %s", exc)

    async def _answers(self) -> bool:
        try:
            async with self._engine.call(min(PING_PATIENCE, self._patience)) as docker:
                await docker.version()
        except RuntimeUnavailable:
            return False
        return True

    async def close(self) -> None:
        if self._known_traits is not None:
            await self._networks.close()
        self._known_traits = None
        await self._engine.close()

    async def has_image(self, image: str) -> bool:
        return await self._images.exists(image)

    async def pull(self, image: str, progress: Progress) -> None:
        await pull_image(self._engine, image, progress)

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:  # noqa: ARG002
        return Surroundings(BASE, self._shared.variables())

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> str | None:
        return await self._containers.profile_of(plan, self._traits, lately=lately)

    async def basis_of(self, plan: ExecutionPlan) -> str | None:
        return await self._environments.basis_of(plan, self._traits)

    async def make_environment(
        self, key: str, plan: ExecutionPlan, directory: Path, downloads: Path
    ) -> PreparedEnvironment:
        return await self._environments.make(key, plan, directory, downloads, self._traits)

    def downloading_into(self, downloads: Path) -> Mapping[str, str]:  # noqa: ARG002
        return downloading(DOWNLOADS)

    async def compare_environment(self, reference: str, key: WorkloadKey, run: RunDirectory) -> Comparison:  # noqa: ARG002
        return await self._environments.compare(reference, self._containers.name_of(key), self._traits)

    async def has_environment(self, reference: str, plan: ExecutionPlan) -> bool:
        return await self._environments.has(reference, plan, self._traits)

    async def list_environments(self) -> set[str]:
        return await self._environments.references()

    async def remove_environment(self, reference: str) -> None:
        await self._environments.remove(reference)

    async def create(self, spec: WorkloadSpec) -> None:
        await self._containers.create(spec, self._traits)

    async def start(self, key: WorkloadKey) -> None:
        # The engine would run a container that has exited again.
        if (await self.look(key)).phase is not WorkloadPhase.CREATED:
            return
        self._containers.unstarted.discard(key)
        try:
            await self._start(key)
        except Absent as exc:
            if (await self.look(key)).phase is WorkloadPhase.ABSENT:
                return
            if not NO_NETWORK.search(str(exc)):
                raise
            await self._networks.make_again()
            await self._start(key)
        except Refusal as exc:
            raise StartFault(str(exc)) from exc

    async def _start(self, key: WorkloadKey) -> None:
        async with self._engine.call() as docker:
            await docker.containers.container(self._containers.name_of(key)).start()

    async def look(self, key: WorkloadKey) -> EngineStatus:
        if key in self._containers.unstarted:
            return EngineStatus(WorkloadPhase.CREATED)
        inspected = await self._containers.inspect(key)
        return _ABSENT if inspected is None else status_of(inspected)

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        if (await self.look(key)).phase is not WorkloadPhase.RUNNING:
            return
        run = run or self._data.run(key.job_id, key.attempt)
        mark_stopping(run)
        grace = grace if run.is_started() else 0  # What a job that has not begun does is not waited for.
        if grace > 0:
            await terminate(self._engine, self._containers.name_of(key), run)
        # The engine kills whatever is left after the grace, even if we are gone by then.
        try:
            async with self._engine.call(grace + self._patience) as docker:
                container = docker.containers.container(self._containers.name_of(key))
                await container.stop(t=math.ceil(grace), timeout=aiohttp.ClientTimeout())
        except Absent:
            pass

    async def remove(self, key: WorkloadKey, *, only_exited: bool = False) -> None:
        if only_exited:
            await self._remove_exited(key)
            return
        if key in self._containers.made and key not in self._containers.served:
            await self._engine.remove_container(self._containers.made[key])
        else:  # One that was not made here may have services, too.
            await asyncio.gather(self._remove_container(key), self._services.remove_containers(key))
            await self._services.remove_network(key)
        self._containers.note_gone(key)

    async def _remove_container(self, key: WorkloadKey) -> None:
        if key in self._containers.made:
            await self._engine.remove_container(self._containers.made[key])
        elif await self._containers.inspect(key) is not None:
            await self._engine.remove_container(self._containers.name_of(key))

    async def _remove_exited(self, key: WorkloadKey) -> None:
        inspected = await self._containers.inspect(key)
        if inspected is None or status_of(inspected).phase is not WorkloadPhase.EXITED:
            return
        self._containers.note_gone(key)
        try:
            # By its id and without force, so that neither one made again nor one started again is hit.
            async with self._engine.call() as docker:
                await docker.containers.container(inspected["Id"]).delete(v=True)
        except (Absent, Conflict):
            pass

    async def begin_term(self) -> None:
        self._containers.forget_all()
        await self._cleaner.remove_leftovers()
        await self._networks.remove_left()

    async def list_workloads(self) -> list[ListedWorkload]:
        await self._networks.look()
        async with self._engine.call() as docker:
            found = await docker.containers.list(all=True, filters=json.dumps({"label": self._label_filter}))
        listed: dict[WorkloadKey, ListedWorkload] = {}
        for container in found:
            each = listed_workload_of(container["Labels"], container["Created"])
            if each is not None and (each.key not in listed or SERVICE not in container["Labels"]):
                listed[each.key] = each
        for key in await self._services.keys_of_networks() - listed.keys():
            listed[key] = ListedWorkload(key, datetime.now(UTC))
        return list(listed.values())

    async def sample(self, key: WorkloadKey) -> Sample | None:
        params = {"stream": "false", "one-shot": "true"}
        try:
            answer = await self._engine.read(f"containers/{self._containers.name_of(key)}/stats", params=params)
        except Absent:
            return None
        return sample_of(json.loads(answer))

    async def final_use(self, key: WorkloadKey) -> None:
        """None: the job's script reads it inside of the container."""

    async def image_of(self, key: WorkloadKey) -> UsedImage | None:
        return await self._containers.image_of(key, self._traits)

    async def await_services(self, key: WorkloadKey, plan: ExecutionPlan) -> None:
        self._containers.served.add(key)
        await self._services.make(key, plan, self._traits)
        facts = await self._containers.facts_of_services(plan, self._traits, lately=True)
        checks = {name: check_of(service.health, facts[name].health) for name, service in plan.services.items()}
        await self._services.until_ready(key, plan, checks)

    async def failed_service(self, key: WorkloadKey) -> str | None:
        return await self._services.failed(key)

    async def has_services(self, key: WorkloadKey) -> bool:
        return await self._services.exist(key)

    async def service_logs(self, key: WorkloadKey, names: Collection[str]) -> Mapping[str, bytes]:
        return await self._services.logs(key, names)

    async def events(self) -> AsyncGenerator[WorkloadKey, None]:
        filters = {"type": ["container"], "event": _EVENTS, "label": self._label_filter}
        async with aclosing(self._engine.stream("GET", "events", params={"filters": json.dumps(filters)})) as events:
            async for event in events:
                key = key_of(event.get("Actor", {}).get("Attributes") or {})
                if key is not None:
                    yield key
        raise RuntimeUnavailable("the Docker engine has ended its stream of events")

    async def delete_tree(self, path: Path) -> None:
        try:
            await asyncio.to_thread(delete_tree, path)
        except PermissionError:
            await self._cleaner.delete(path, self._data, self._traits)

    @property
    def _traits(self) -> Traits:
        if self._known_traits is None:
            raise RuntimeUnavailable("there is no connection to the Docker engine")
        return self._known_traits


def _place_layers_apart(traits: Traits) -> None:
    if traits.layers is None:
        return
    with suppress(OSError):  # The directory is root's.
        if place_apart(traits.layers):
            log.info("containers' files are placed apart on the disk from now on: chattr +T %s", traits.layers)
