"""The runtime of containers."""

import asyncio
import json
import logging
import math
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp

from ci_common.errors import ImageInvalid, ImageNotFound, ImageWithoutShell, RuntimeUnavailable, StartFault
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_common.system.trees import delete_tree
from ci_controller.policy.verdicts import WorkloadPhase
from ci_controller.run_directory.gate_script import GATE_SCRIPT
from ci_controller.run_directory.preparation import open_to_everyone
from ci_controller.runtime.docker import certificates
from ci_controller.runtime.docker.cleaning import Cleaner
from ci_controller.runtime.docker.containers import (
    BASE,
    CONSOLE_DEVICES,
    INSTALLATION,
    JOB,
    Mount,
    job_config,
    job_labels,
    key_of,
    listed_workload_of,
    name_of_profile,
    status_of,
)
from ci_controller.runtime.docker.engine import PATIENCE, PING_PATIENCE, Absent, Conflict, Engine, Refusal, Traits
from ci_controller.runtime.docker.images import ImageFacts, Images
from ci_controller.runtime.docker.pulls import pull_image
from ci_controller.runtime.docker.signalling import signal_stop
from ci_controller.runtime.protocol import (
    EngineStatus,
    ListedWorkload,
    Progress,
    Surroundings,
    WorkloadKey,
    WorkloadSpec,
    check_enforceable,
)

log = logging.getLogger(__name__)

_EVENTS = ["start", "die", "oom", "destroy"]
_PLAIN_ENVIRONMENT = {
    "CI": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONUNBUFFERED": "1",
}
_ABSENT = EngineStatus(WorkloadPhase.ABSENT)
_REFUSED_STORAGE = re.compile(r"storage-opt|quota", re.IGNORECASE)


class DockerRuntime:
    """Runs jobs in containers of the engine that DOCKER_HOST names, or of the usual one. Keeps `Runtime`'s promises.

    Container names follow from the job, so creating twice is noticed by the engine; whose a container is, its labels
    say. One that has the name but not our label is not ours, and is left alone.
    """

    name = "docker"
    isolated = True
    has_console = True
    can_wait = True

    def __init__(
        self, settings: Settings, installation_id: str, data: DataDirectory, *, patience: float = PATIENCE
    ) -> None:
        """`patience` is how many seconds the engine may take to answer. Raises SettingsError."""
        self._settings = settings
        self._installation_id = installation_id
        self._engine = Engine(settings.docker_url, patience=patience)
        self._images = Images(self._engine, installation_id)
        self._cleaner = Cleaner(self._engine, installation_id)
        self._patience = patience
        self._bundle_source = certificates.find_bundle(settings.ca_bundle, os.environ)
        self._data = data
        self._bundle = data.ca_bundle
        self._bundle_digest = ""
        self._known_traits: Traits | None = None
        self._limits_layers = False
        self._made: dict[WorkloadKey, str] = {}
        """The ids of containers made here, which are ours and no other's, until they are removed or forgotten."""
        self._unstarted: set[WorkloadKey] = set()
        """Those of them that were never started."""

    async def open(self) -> None:
        if self._known_traits is not None and await self._answers():
            return
        self._known_traits = await self._engine.open()
        self._limits_layers = self._known_traits.may_limit_layers
        try:
            self._copy_bundle()
        except OSError as exc:  # As on a full disk. The engine is there all the same, and jobs may find the copy yet.
            log.warning("the certificates for jobs cannot be copied: %s", exc)

    async def _answers(self) -> bool:
        try:
            async with self._engine.call(min(PING_PATIENCE, self._patience)) as docker:
                await docker.version()
        except RuntimeUnavailable:
            return False
        return True

    def _copy_bundle(self) -> None:
        if self._bundle_source is not None:
            self._bundle_digest = certificates.copy_bundle(self._bundle_source, self._bundle)

    async def close(self) -> None:
        self._known_traits = None
        await self._engine.close()

    async def has_image(self, image: str) -> bool:
        return await self._images.exists(image)

    async def pull(self, image: str, progress: Progress) -> None:
        await pull_image(self._engine, image, progress)

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:  # noqa: ARG002
        trusted = certificates.variables() if self._bundle_source is not None else {}
        names = [name.strip() for name in self._settings.pass_env.split(",")]
        passed = {name: os.environ[name] for name in names if name in os.environ}
        return Surroundings(BASE, _PLAIN_ENVIRONMENT | trusted | passed)

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> str | None:
        if self._traits.selinux:  # Files that come into a mount later are without the label that lets containers in.
            return None
        try:
            facts = await self._images.facts(plan.image, self._traits, lately=lately)
        except (ImageNotFound, ImageInvalid):
            return None
        if facts.hidden:
            return None
        mounts = self._mounts(RunDirectory(BASE), facts)
        config = job_config(plan, {}, mounts, self._traits, limit_layer=self._limits_layer_of(plan))
        return name_of_profile(config, facts.identity, self._bundle_digest, GATE_SCRIPT.decode())

    async def create(self, spec: WorkloadSpec) -> None:
        unenforced = self._traits.unenforced
        check_enforceable(spec.plan.limits, unenforced, self._settings, why="the engine's kernel is not set up for it")
        # The engine looks up the name once more.
        facts = await self._images.facts(spec.plan.image, self._traits, lately=True)
        if not facts.has_shell:
            raise ImageWithoutShell(f"the image {spec.plan.image} has no /bin/sh, which runs the job's script")
        if facts.hidden:
            raise StartFault(
                f"the image {spec.plan.image} has a volume at {', '.join(facts.hidden)}, where it hides the job's own "
                f"files, which are below {BASE}; build the image without that VOLUME, or with one at another path"
            )
        if self._traits.remapped or self._traits.rootless or not facts.runs_as_root:
            await in_thread(open_to_everyone, spec.run)
        if self._bundle_source is not None and not self._bundle.exists():
            await asyncio.to_thread(self._copy_bundle)
        try:
            await self._create(spec, facts)
        except Conflict as exc:
            if await self._inspect(spec.key) is None:
                raise StartFault(f"another installation's container is named {self._name(spec.key)}") from exc
        except Absent as exc:
            raise ImageNotFound(str(exc)) from exc
        except Refusal as exc:
            raise StartFault(str(exc)) from exc

    async def _create(self, spec: WorkloadSpec, facts: ImageFacts) -> None:
        """Limit the container's own layer as the workspace is where the engine can, which only trying shows."""
        labels, mounts = job_labels(self._installation_id, spec), self._mounts(spec.run, facts)
        limit_layer = self._limits_layer_of(spec.plan)
        config = job_config(spec.plan, labels, mounts, self._traits, limit_layer=limit_layer)
        try:
            async with self._engine.call() as docker:
                container = await docker.containers.create(config, name=self._name(spec.key))
            self._made[spec.key] = container.id
            self._unstarted.add(spec.key)
        except Refusal as exc:
            if not (limit_layer and _REFUSED_STORAGE.search(str(exc))):
                raise
            self._limits_layers = False
            await self._create(spec, facts)

    def _limits_layer_of(self, plan: ExecutionPlan) -> bool:
        return self._limits_layers and plan.limits.workspace is not None

    def _mounts(self, run: RunDirectory, facts: ImageFacts) -> list[Mount]:
        mounts = [Mount(run.path, str(BASE)), *(Mount(run.console, device) for device in CONSOLE_DEVICES)]
        if self._bundle_source is not None:
            mounts.append(Mount(self._bundle, certificates.LOCAL_BUNDLE, read_only=True))
            if facts.has_certificates:
                mounts.append(Mount(self._bundle, certificates.SYSTEM_BUNDLE, read_only=True))
        return mounts

    async def start(self, key: WorkloadKey) -> None:
        # The engine would run a container that has exited again.
        if (await self.look(key)).phase is not WorkloadPhase.CREATED:
            return
        self._unstarted.discard(key)
        try:
            async with self._engine.call() as docker:
                await docker.containers.container(self._name(key)).start()
        except Absent:
            if (await self.look(key)).phase is not WorkloadPhase.ABSENT:
                raise
        except Refusal as exc:
            raise StartFault(str(exc)) from exc

    async def look(self, key: WorkloadKey) -> EngineStatus:
        if key in self._unstarted:
            return EngineStatus(WorkloadPhase.CREATED)
        inspected = await self._inspect(key)
        return _ABSENT if inspected is None else status_of(inspected)

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        if (await self.look(key)).phase is not WorkloadPhase.RUNNING:
            return
        run = run or self._data.run(key.job_id, key.attempt)
        await signal_stop(self._engine, self._name(key), run)
        # The engine kills whatever is left after the grace, even if we are gone by then. What a job that has not begun
        # does is not waited for.
        grace = grace if run.is_started() else 0
        try:
            async with self._engine.call(grace + self._patience) as docker:
                container = docker.containers.container(self._name(key))
                await container.stop(t=math.ceil(grace), timeout=aiohttp.ClientTimeout())
        except Absent:
            pass

    async def remove(self, key: WorkloadKey, *, only_exited: bool = False) -> None:
        if only_exited:
            await self._remove_exited(key)
            return
        made = self._made.get(key)
        if made is not None:
            await self._engine.remove_container(made)
        elif await self._inspect(key) is not None:
            await self._engine.remove_container(self._name(key))
        self._note_gone(key)

    async def _remove_exited(self, key: WorkloadKey) -> None:
        inspected = await self._inspect(key)
        if inspected is None or status_of(inspected).phase is not WorkloadPhase.EXITED:
            return
        self._note_gone(key)
        try:
            # By its id and without force, so that neither one made again nor one started again is hit.
            async with self._engine.call() as docker:
                await docker.containers.container(inspected["Id"]).delete(v=True)
        except (Absent, Conflict):
            pass

    def _note_gone(self, key: WorkloadKey) -> None:
        self._made.pop(key, None)
        self._unstarted.discard(key)

    async def begin_term(self) -> None:
        self._made.clear()
        self._unstarted.clear()
        await self._cleaner.remove_leftovers()

    async def list_workloads(self) -> list[ListedWorkload]:
        async with self._engine.call() as docker:
            found = await docker.containers.list(all=True, filters=json.dumps({"label": self._label_filter}))
        listed = (listed_workload_of(container["Labels"], container["Created"]) for container in found)
        return [each for each in listed if each is not None]

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
            home = self._home_of(path)
            await self._cleaner.delete(home, path.relative_to(home), self._traits)

    def _home_of(self, path: Path) -> Path:
        """Return a directory above `path` that is mounted into no job, as narrow a one as there is.

        What lies directly in jobs/ or pool/ no container can replace: it sees its own run directory at most.
        """
        for folder in (self._data.jobs, self._data.pool, self._data.incoming):
            if folder in path.parents:
                return folder if path.parent == folder else folder / path.relative_to(folder).parts[0]
        raise ValueError(f"{path} is no job's")

    async def _inspect(self, key: WorkloadKey) -> dict[str, Any] | None:
        """Return what the engine says of our container, or None where it says that there is none of ours."""
        try:
            async with self._engine.call() as docker:
                inspected = await docker.containers.container(self._name(key)).show()
        except Absent:
            return None
        labels = inspected["Config"].get("Labels") or {}
        return inspected if labels.get(INSTALLATION) == self._installation_id else None

    def _name(self, key: WorkloadKey) -> str:
        return f"{self._settings.container_prefix}ci-{key.job_id}-{key.attempt}"

    @property
    def _label_filter(self) -> list[str]:
        return [f"{INSTALLATION}={self._installation_id}", JOB]

    @property
    def _traits(self) -> Traits:
        if self._known_traits is None:
            raise RuntimeUnavailable("there is no connection to the Docker engine")
        return self._known_traits
