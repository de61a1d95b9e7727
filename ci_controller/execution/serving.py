"""Follows the services of one attempt: until they are ready, and what they write until the attempt ends."""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping

from ci_common.errors import CiError, LeadershipLost
from ci_common.jobs import Job
from ci_common.run_directory.layout import RunDirectory
from ci_common.runtime_faults import ImageFault, RuntimeUnavailable, StartFault
from ci_common.secrets.masks import Masked, stars
from ci_common.spec import ExecutionPlan
from ci_common.system.tasks import in_thread
from ci_controller.runtime.protocol import Check, ServiceHost, WorkloadKey

log = logging.getLogger(__name__)

LOG_SECONDS = 3.0
"""How often what services write is copied while the job runs."""
RETRY_SECONDS = 1.0


def services_of(job: Job) -> Collection[str]:
    """Return the names of the job's services, also for a plan that is not valid otherwise."""
    services = (job.plan or {}).get("services")
    return services.keys() if isinstance(services, dict) else ()


class ServiceWatch:
    """The services of one attempt, followed by a task from `begin` to `close`."""

    def __init__(
        self,
        host: ServiceHost,
        job: Job,
        run: RunDirectory,
        *,
        wake: Callable[[], None],
        check: Check,
        masks: Callable[[], Masked | None] = lambda: None,
    ) -> None:
        """`wake` is called once the services are ready, or one has failed; `check` before files are written.

        `masks` returns what is to be masked in what they write.
        """
        self._host = host
        self._job = job
        self._run = run
        self._wake = wake
        self._check = check
        self._masks = masks
        self._task: asyncio.Task[None] | None = None
        self.are_ready = False
        self.fault: StartFault | ImageFault | None = None
        """Why the job cannot be started."""

    def begin(self, workload: WorkloadKey, *, are_ready: bool) -> None:
        """Follow the services of `workload`. With `are_ready`, they were before. Does nothing if they are followed."""
        if self._task is None:
            self.are_ready = are_ready
            self._task = asyncio.create_task(self._follow(workload), name=f"services of {self._job.id}")
            self._task.add_done_callback(_log_failure)

    async def _follow(self, workload: WorkloadKey) -> None:
        while not self.are_ready and self.fault is None:
            try:
                await self._host.await_services(workload, ExecutionPlan.model_validate(self._job.plan))
                self.are_ready = True
            except LeadershipLost:
                return
            except (StartFault, ImageFault) as fault:
                self.fault = fault
            except RuntimeUnavailable as exc:
                log.warning("job %s: its services cannot be seen at present: %s", self._job.id, exc)
                await asyncio.sleep(RETRY_SECONDS)
        self._wake()
        while self.fault is None:
            await asyncio.sleep(LOG_SECONDS)
            try:
                await keep_logs(self._host, workload, services_of(self._job), self._run, self._check, self._masks())
            except LeadershipLost:
                return
            except CiError as exc:
                log.warning("job %s: the logs of its services cannot be copied at present: %s", self._job.id, exc)

    async def close(self) -> None:
        """End following: once this returns, nothing is made any more. May be repeated."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def keep_logs(
    host: ServiceHost,
    workload: WorkloadKey,
    names: Collection[str],
    run: RunDirectory,
    check: Check,
    masks: Masked | None = None,
) -> None:
    """Copy what the services have written to beside the run directory. What is gone keeps its last copy.

    The secrets that the job was given are masked, by `masks`.

    A disk that does not take it keeps no job from its end. Raises RuntimeUnavailable, LeadershipLost.
    """
    if not (logs := await host.service_logs(workload, names)):
        return
    check()
    try:
        await in_thread(_write, run, logs, masks)
    except OSError as exc:
        log.warning("the logs of the services of %s cannot be copied: %s", run.path, exc)


def _write(run: RunDirectory, logs: Mapping[str, bytes], masks: Masked | None) -> None:
    run.services.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in logs.items():
        path = run.service_log(name)
        draft = path.with_suffix(".new")
        draft.write_bytes(content if masks is None else stars(content, masks.covered(content)))
        os.replace(draft, path)


def _log_failure(following: "asyncio.Task[None]") -> None:
    if not following.cancelled() and following.exception() is not None:
        log.error("the %s are not followed any more", following.get_name(), exc_info=following.exception())
