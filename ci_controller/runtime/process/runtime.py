"""The runtime of plain processes: no isolation, nothing needed but /bin/sh."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import ci_common
from ci_common.errors import RuntimeUnavailable, StartFault
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.spec import ExecutionPlan
from ci_common.system.process_tuning import soft_limit_at_start
from ci_common.system.trees import delete_tree
from ci_common.system.watch import FileWatcher, Watched
from ci_controller.policy.verdicts import WorkloadPhase
from ci_controller.run_directory.preparation import mark_stopping
from ci_controller.runtime.process import supervisor
from ci_controller.runtime.process.environment import job_environment, python_setup
from ci_controller.runtime.process.record import ProcessRecord, unreadable_is_unavailable
from ci_controller.runtime.protocol import (
    KERNEL_LIMITS,
    EngineStatus,
    ListedWorkload,
    Progress,
    Surroundings,
    WorkloadKey,
    WorkloadSpec,
    check_enforceable,
)

KILL_SECONDS = 30.0
"""How long killed processes may take to be gone."""
TAKE_OVER_SECONDS = 10.0
"""How long a supervisor that has the lock may take to put its identity on record."""
_EVENT_SECONDS = 60.0
_REMOVED = ".removed-"
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def forget_copied_records(data: DataDirectory) -> None:
    """Delete the records that came with a copy of another data directory: what they name is not ours to signal.

    A supervisor holds the lock of its own record, wherever that was moved to, and never that of a copy.
    """
    with unreadable_is_unavailable():
        entries = list(os.scandir(data.processes)) if data.processes.is_dir() else []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not ProcessRecord(Path(entry.path)).is_kept():
                delete_tree(Path(entry.path))


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
            removed = [Path(entry.path) for entry in os.scandir(self._directory) if entry.name.startswith(_REMOVED)]
        for path in removed:
            await self._delete(ProcessRecord(path))

    async def close(self) -> None:
        self._spawner.shutdown(wait=False)

    async def has_image(self, image: str) -> bool:  # noqa: ARG002
        return True

    async def pull(self, image: str, progress: Progress) -> None:
        """Do nothing: images mean nothing here."""

    async def profile_of(self, plan: ExecutionPlan, *, lately: bool = True) -> None:
        """None: a process starts at once, and knows its run directory by its path."""

    def describe(self, plan: ExecutionPlan, run: RunDirectory) -> Surroundings:
        names = [name.strip() for name in self._settings.pass_env.split(",")]
        environment = job_environment(os.environ, ca_bundle=self._settings.ca_bundle, pass_env=names)
        return Surroundings(run.path.absolute(), environment, python_setup(run, plan, environment))

    async def create(self, spec: WorkloadSpec) -> None:
        check_enforceable(
            spec.plan.limits, KERNEL_LIMITS, self._settings, why="jobs run without a container engine here"
        )
        self._record(spec.key).create()

    async def start(self, key: WorkloadKey) -> None:
        if (await self.look(key)).phase is not WorkloadPhase.CREATED:
            return
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._spawner, self._spawn, key)
        if result.returncode == supervisor.BUSY:
            # Another one, of a controller that died just now, has the lock and is about to take charge.
            if not await self._leaves(key, WorkloadPhase.CREATED, TAKE_OVER_SECONDS):
                raise StartFault("a supervisor holds the workload's lock and does not take charge of it")
        elif result.returncode != 0 and (await self.look(key)).phase is WorkloadPhase.CREATED:
            raise StartFault(f"the job's supervisor could not start: {result.stderr.decode(errors='replace').strip()}")

    def _spawn(self, key: WorkloadKey) -> "subprocess.CompletedProcess[bytes]":
        root = Path(ci_common.__file__).parents[1]
        run = self._data.run(key.job_id, key.attempt)
        program = [sys.executable, "-I", "-S", supervisor.__file__]
        program += [str(root), str(self._record(key).path), str(run.path), str(soft_limit_at_start)]
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
        self._record(key).send(signal.SIGTERM)
        if not await self._leaves(key, WorkloadPhase.RUNNING, grace):
            await self._kill(key)

    async def _kill(self, key: WorkloadKey) -> None:
        self._record(key).send(signal.SIGKILL)
        if not await self._leaves(key, WorkloadPhase.RUNNING, KILL_SECONDS):
            raise RuntimeUnavailable(f"processes of job {key.job_id} do not end, although they were killed")

    async def _leaves(self, key: WorkloadKey, phase: WorkloadPhase, timeout: float) -> bool:
        """Wait until the workload is in another phase; return whether it is within `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        pause = 0.001
        while (await self.look(key)).phase is phase:
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

    async def delete_tree(self, path: Path) -> None:
        await asyncio.to_thread(delete_tree, path)

    def _record(self, key: WorkloadKey) -> ProcessRecord:
        return ProcessRecord(self._directory / f"{key.job_id}.{key.attempt}")
