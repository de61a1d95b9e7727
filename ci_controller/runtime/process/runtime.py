"""The runtime of plain processes: no isolation, nothing needed but /bin/sh."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import ci_common
from ci_common.attempts.outcomes import ResourceUse, Sample
from ci_common.environments import Comparison
from ci_common.jobs import new_job_id
from ci_common.run_directory.attributes import make_place_of_trees
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.runtime_faults import ImageNotFound, RuntimeUnavailable, StartFault
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.process_tuning import soft_limit_at_start
from ci_common.system.tasks import in_thread
from ci_common.system.trees import Folder, delete_tree
from ci_common.system.watch import FileWatcher, Watched
from ci_common.times import uptime
from ci_controller.policy import WorkloadPhase
from ci_controller.run_directory.preparation import mark_stopping, write_setup_script
from ci_controller.runtime.comparing.process import compare_directories
from ci_controller.runtime.enforcement import KERNEL_LIMITS, check_enforceable, check_services
from ci_controller.runtime.process import supervisor
from ci_controller.runtime.process.environments import EnvironmentTrees
from ci_controller.runtime.process.record import SETUP_RECORD, ProcessRecord, unreadable_is_unavailable
from ci_controller.runtime.process.surroundings import basis, environment_setup, job_environment
from ci_controller.runtime.protocol import (
    EngineStatus,
    ListedWorkload,
    PreparedEnvironment,
    Progress,
    Surroundings,
    WorkloadKey,
    WorkloadSpec,
)
from ci_controller.runtime.setups import check_ended, check_running, downloading, keeping_compiled

KILL_SECONDS = 30.0
"""How long killed processes may take to be gone."""
TAKE_OVER_SECONDS = 10.0
"""How long a supervisor that has the lock may take to put its identity on record."""
_EVENT_SECONDS = 60.0
_REMOVED = ".removed-"
_LOOK_SECONDS = 0.1
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_STAND_BACK = b'renice -n 3 -p "$$" >/dev/null 2>&1\n'
"""A setup apart from its job gets half of the processor time that a job gets where there is not enough for both."""


class ProcessRuntime:
    """Runs each job under a supervisor process that outlives the controller. Keeps `Runtime`'s promises.

    What is known of a workload stands in its record below `<data>/processes` (see `process_record`), so any controller
    of this data directory can drive it. The supervisor alone signals the job's processes; the controller signals only
    the supervisor, and only after making sure by pid and start time that it is the one that was meant.
    """

    name = "process"
    isolated = False
    has_console = False
    can_wait = False

    def __init__(self, settings: Settings, data: DataDirectory) -> None:
        self._settings = settings
        self._data = DataDirectory(data.path.absolute())
        self._directory = self._data.processes
        self._spawner = ThreadPoolExecutor(thread_name_prefix="spawn")
        self._removals = count()
        self._trees = EnvironmentTrees(self._data)
        self._making = set[str]()

    async def open(self) -> None:
        if not sys.executable:
            raise RuntimeUnavailable("this Python does not know its own program, which has to keep the jobs")
        if not os.access(supervisor.SHELL, os.X_OK):
            raise RuntimeUnavailable(f"{supervisor.SHELL} cannot be run")
        with unreadable_is_unavailable():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise RuntimeUnavailable(f"{self._directory} cannot be read and written")

    async def begin_term(self) -> None:
        with unreadable_is_unavailable():
            names = [name for name in os.listdir(self._directory) if name.startswith((_REMOVED, SETUP_RECORD))]
        for name in names:
            await self._delete(ProcessRecord(self._directory / name))

    async def close(self) -> None:
        self._spawner.shutdown(wait=False)

    async def has_image(self, image: str) -> bool:  # noqa: ARG002
        return True

    async def pull(self, image: str, progress: Progress) -> None:
        """Do nothing: images mean nothing here."""

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> None:
        """None: a process starts at once, and knows its run directory by its path."""

    async def basis_of(self, plan: ExecutionPlan) -> str:
        return await in_thread(basis, plan, self._job_environment(), self._data.trees)

    async def make_environment(
        self,
        key: str,  # noqa: ARG002
        plan: ExecutionPlan,
        directory: Path,
        downloads: Path,
    ) -> PreparedEnvironment:
        name, run = new_job_id(), RunDirectory(directory.absolute())
        place, record = self._trees.place(name), ProcessRecord(self._directory / f"{SETUP_RECORD}{name}")
        environment = self._job_environment()
        setup = environment_setup(place, plan, environment)
        environment |= downloading(str(downloads.absolute()))
        script = write_setup_script(
            plan, base=str(run.path), environment=environment, setup=setup, then=keeping_compiled(plan)
        )
        self._making.add(name)
        try:
            try:
                await in_thread(self._trees.make_place, name)
                await in_thread(_write_setup, run, script, downloads)
                record.create()
                seconds = await self._run_setup(record, plan, run)
            finally:
                await asyncio.shield(self._remove_record(record))
            size = await in_thread(self._trees.keep, name)
            await in_thread(self._trees.make_spare, name)
        except BaseException:
            await asyncio.shield(in_thread(self._trees.remove, name))
            raise
        finally:
            self._making.discard(name)
        return PreparedEnvironment(name, size, seconds)

    async def _run_setup(self, record: ProcessRecord, plan: ExecutionPlan, run: RunDirectory) -> float:
        """Run a setup, and return how many seconds it took. Raises SetupFailed."""
        began = uptime()
        await self._start(record, run)
        while (status := record.look()).phase is WorkloadPhase.RUNNING:
            check_running(plan, run.log, began)
            await asyncio.sleep(_LOOK_SECONDS)
        check_ended(status.exit_code, plan, run.path)
        return uptime() - began

    def downloading_into(self, downloads: Path) -> Mapping[str, str]:
        return downloading(str(downloads.absolute()))

    async def compare_environment(self, reference: str, key: WorkloadKey, run: RunDirectory) -> Comparison:  # noqa: ARG002
        if not self._trees.has(reference):
            raise ImageNotFound("the prepared environment has been removed")
        tree, made = self._trees.place(reference), run.environment.absolute()
        return await compare_directories(tree, tree, made, made)

    async def has_environment(self, reference: str, plan: ExecutionPlan) -> bool:  # noqa: ARG002
        return self._trees.has(reference)

    async def list_environments(self) -> set[str]:
        return await in_thread(self._trees.names) - self._making

    async def remove_environment(self, reference: str) -> None:
        await in_thread(self._trees.remove, reference)

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:
        environment = self._job_environment()
        if any(cache.is_in_home for cache in plan.caches):
            # Other jobs, and people, use the machine's own home at the same time.
            environment["HOME"] = str(run.home.absolute())
        setup = environment_setup(run.environment.absolute(), plan, environment)
        return Surroundings(run.path.absolute(), environment, setup)

    def _job_environment(self) -> dict[str, str]:
        names = [name.strip() for name in self._settings.pass_env.split(",")]
        return job_environment(os.environ, ca_bundle=self._settings.ca_bundle, pass_env=names)

    async def create(self, spec: WorkloadSpec) -> None:
        check_enforceable(
            spec.plan.limits, KERNEL_LIMITS, self._settings, why="jobs run without a container engine here"
        )
        check_services(spec.plan, self._settings, why="jobs run without a container engine here")
        if spec.environment is not None:
            await in_thread(self._trees.give, spec.environment, spec.run)
            asyncio.get_running_loop().run_in_executor(self._spawner, self._trees.make_spare, spec.environment)
        elif spec.plan.setup is not None:
            with unreadable_is_unavailable():
                spec.run.environment.mkdir(exist_ok=True)
                if spec.is_apart and spec.downloads is not None:
                    _keep_downloads(spec.downloads)
        self._record(spec.key).create()

    async def start(self, key: WorkloadKey) -> None:
        await self._start(self._record(key), self._data.run(key.job_id, key.attempt))

    async def _start(self, record: ProcessRecord, run: RunDirectory) -> None:
        if record.look().phase is not WorkloadPhase.CREATED:
            return
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._spawner, self._spawn, record, run)
        if result.returncode == supervisor.BUSY:
            # Another one, of a controller that died just now, has the lock and is about to take charge.
            if not await self._leaves(record, WorkloadPhase.CREATED, TAKE_OVER_SECONDS):
                raise StartFault("a supervisor holds the workload's lock and does not take charge of it")
        elif result.returncode != 0 and record.look().phase is WorkloadPhase.CREATED:
            raise StartFault(f"the job's supervisor could not start: {result.stderr.decode(errors='replace').strip()}")

    @staticmethod
    def _spawn(record: ProcessRecord, run: RunDirectory) -> "subprocess.CompletedProcess[bytes]":
        root = Path(ci_common.__file__).parents[1]
        program = [sys.executable, "-I", "-S", supervisor.__file__]
        program += [str(root), str(record.path), str(run.path), str(soft_limit_at_start)]
        try:
            return subprocess.run(  # noqa: S603
                program,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
                cwd="/",
                start_new_session=True,
                check=False,
            )
        except OSError as exc:
            if exc.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
                raise RuntimeUnavailable(f"the machine cannot start another process at present: {exc}") from exc
            raise StartFault(f"the job's supervisor could not start: {exc}") from exc

    async def look(self, key: WorkloadKey) -> EngineStatus:
        return self._record(key).look()

    async def stop(self, key: WorkloadKey, grace: float, run: RunDirectory | None = None) -> None:
        if (await self.look(key)).phase is not WorkloadPhase.RUNNING:
            return
        mark_stopping(run or self._data.run(key.job_id, key.attempt))
        if grace > 0:
            self._record(key).send(signal.SIGTERM)
        if grace <= 0 or not await self._leaves(self._record(key), WorkloadPhase.RUNNING, grace):
            await self._kill(key)

    async def _kill(self, key: WorkloadKey) -> None:
        self._record(key).send(signal.SIGKILL)
        if not await self._leaves(self._record(key), WorkloadPhase.RUNNING, KILL_SECONDS):
            raise RuntimeUnavailable(f"processes of job {key.job_id} do not end, although they were killed")

    @staticmethod
    async def _leaves(record: ProcessRecord, phase: WorkloadPhase, timeout: float) -> bool:
        """Wait until the workload is in another phase; return whether it is within `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        pause = 0.001
        while record.look().phase is phase:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, 0.02)
        return True

    async def remove(self, key: WorkloadKey, *, only_exited: bool = False) -> None:
        phase = (await self.look(key)).phase
        if phase is WorkloadPhase.ABSENT or (only_exited and phase is not WorkloadPhase.EXITED):
            return
        if phase is WorkloadPhase.RUNNING:
            await self._kill(key)
        await asyncio.to_thread(self._record(key).kill_left)
        await self._remove_record(self._record(key))

    async def _remove_record(self, record: ProcessRecord) -> None:
        with unreadable_is_unavailable():
            path = record.path
            removed = path.with_name(f"{_REMOVED}{path.name}-{os.getpid()}-{next(self._removals)}")
            try:
                path.rename(removed)
            except FileNotFoundError:
                return  # Another call was faster.
        await self._delete(ProcessRecord(removed))

    async def _delete(self, record: ProcessRecord) -> None:
        """Delete a record under its new name, by which no supervisor finds it any more; stop one that already had."""
        deadline = asyncio.get_running_loop().time() + KILL_SECONDS
        while record.created() is not None:
            with record.locked() as free:
                if free:
                    with unreadable_is_unavailable():
                        delete_tree(record.path)
                    return
            record.send(signal.SIGKILL)
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeUnavailable(f"the supervisor of {record.path} does not end, although it was told to")
            await asyncio.sleep(0.005)

    async def list_workloads(self) -> list[ListedWorkload]:
        with unreadable_is_unavailable():
            names = os.listdir(self._directory)
        listed = []
        for name in names:
            job_id, _, attempt = name.rpartition(".")
            created = ProcessRecord(self._directory / name).created() if job_id and attempt.isdecimal() else None
            if created is not None:
                listed.append(ListedWorkload(WorkloadKey(job_id, int(attempt)), created))
        return listed

    async def events(self) -> AsyncGenerator[WorkloadKey, None]:
        async with FileWatcher() as watcher:
            with watcher.subscribe((self._directory, Watched.ENTRIES)) as changes:
                known = await self._ended()
                while True:
                    await changes.wait(_EVENT_SECONDS)
                    ended = await self._ended()
                    for key in ended - known:
                        yield key
                    known = ended

    async def _ended(self) -> set[WorkloadKey]:
        keys = [each.key for each in await self.list_workloads()]
        return {key for key in keys if (await self.look(key)).phase is WorkloadPhase.EXITED}

    async def sample(self, key: WorkloadKey) -> Sample | None:
        return await in_thread(self._record(key).sample)

    async def final_use(self, key: WorkloadKey) -> ResourceUse | None:
        return self._record(key).final_use()

    async def image_of(self, key: WorkloadKey) -> None:
        """None: there are no images here."""

    async def await_services(self, key: WorkloadKey, plan: ExecutionPlan) -> None:
        """Do nothing: there are no services here."""

    async def failed_service(self, key: WorkloadKey) -> None:
        """None: no service can fail here."""

    async def has_services(self, key: WorkloadKey) -> bool:  # noqa: ARG002
        return False

    async def service_logs(self, key: WorkloadKey, names: Collection[str]) -> Mapping[str, bytes]:  # noqa: ARG002
        return {}

    async def delete_tree(self, path: Path) -> None:
        run = RunDirectory(path.absolute().parent)
        if path.absolute() == run.environment and run.path.parent.parent == self._data.jobs:
            with suppress(OSError):  # Thousands of files, for which no job and no command is to wait.
                await in_thread(self._trees.discard, path)
                return
        await asyncio.to_thread(delete_tree, path)

    def _record(self, key: WorkloadKey) -> ProcessRecord:
        return ProcessRecord(self._directory / f"{key.job_id}.{key.attempt}")


def _write_setup(run: RunDirectory, script: bytes, downloads: Path) -> None:
    _keep_downloads(downloads)
    with Folder.opened(run.path) as folder:
        folder.make_folder(run.workspace.name)
        folder.make_file(run.log.name)
        folder.write(run.script.name, _STAND_BACK + script)


def _keep_downloads(downloads: Path) -> None:
    """Make the directory, or note that it is used."""
    make_place_of_trees(downloads.parent)
    downloads.mkdir(exist_ok=True)
    os.utime(downloads)
