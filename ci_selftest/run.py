"""One run: load and faults, then waiting for all jobs to complete, then the final checks."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from ci_client.aio import CiClient
from ci_common.configuration.database_address import DatabaseAddress, DatabaseUrl
from ci_common.errors import CiError
from ci_common.system.tasks import shield_to_end
from ci_common.wire.stream import COMPLETE
from ci_selftest import leaks
from ci_selftest.faults.database import DatabaseFaults, OwnServer, faults_before
from ci_selftest.faults.held_ports import held_ports
from ci_selftest.faults.injection import FaultInjector
from ci_selftest.faults.workloads import Workloads
from ci_selftest.installation import APIS, CONTROLLERS, SLOTS, Installation
from ci_selftest.jobs.evidence import Promise
from ci_selftest.jobs.job_run import RunContext
from ci_selftest.load import Load
from ci_selftest.owned import database_of, remove_owned, workloads_of
from ci_selftest.report import Outcome
from ci_selftest.schedule import fault_schedule
from ci_selftest.scratch import Scratch, command_of, processes_of, scratch_directory

SETTLE_SECONDS = 120.0
"""How long the jobs may take to complete after the last fault."""
CALM_JOBS = 8
"""The number of jobs in a run without faults."""
_SERVERS = 2
_FIRST_JOB_SECONDS = 1800.0
"""How long the first job may take, since its image may have to be pulled."""

Relay = Callable[[str], AbstractAsyncContextManager[str]]
"""Yields another URL for a server's, for readers to use while the context is open."""


class CannotBegin(CiError):
    """A first job, without any fault, did not succeed, so a self-test would prove nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run."""

    seed: int
    seconds: float | None
    """How long faults are injected; None is a run without faults."""
    runtime: str
    """`docker` or `process`."""
    image: str
    parent: Path
    """The directory below which the scratch directory is made."""
    service_image: str | None = None
    """The image of services; None for `image`."""
    relay: Relay | None = None
    database: DatabaseUrl | None = None
    """A server's database in which the run has a schema; None for a file."""
    server: OwnServer | None = None
    """The server of `database`, where the run may kill and stop it."""


class Run:
    """One run, from the scratch directory to the outcome."""

    def __init__(self, options: Options) -> None:
        chaos = "" if options.seconds is None else f"--chaos --minutes {options.seconds / 60:g} "
        database = "" if options.database is None else f"--database {options.database} "
        replay = f"{chaos}{database}--seed {options.seed} --runtime {options.runtime} --image {options.image}"
        self.outcome = Outcome(options.seed, options.runtime, options.image, replay=f"ci selftest {replay}")
        self._options = options
        self._begun = time.monotonic()
        self._phase = "starting"
        self._load: Load | None = None
        self._faults: FaultInjector | None = None
        self._timeline: TextIO | None = None

    def line(self) -> str:
        """Return the progress in one line."""
        parts = [f"{time.monotonic() - self._begun:.0f} s: {self._phase}"]
        if self._load is not None:
            parts += [f"{self.outcome.jobs.total()} jobs completed, {self._load.under_way} under way"]
        if self._faults is not None:
            parts += [f"{self._faults.done.total()} faults"]
        return ", ".join([*parts, f"{len(self.outcome.violations)} promises broken"])

    async def execute(self) -> Outcome:
        """Do the whole run. It leaves nothing behind, except the scratch directory if a promise was broken.

        Raises CiError if it could not begin.
        """
        options = self._options
        with scratch_directory(options.parent, options.runtime) as scratch, held_ports(_SERVERS) as ports:
            with (scratch.logs / "selftest.log").open("w", buffering=1) as self._timeline:
                async with database_of(scratch, options.database) as database:
                    await self._in(scratch, database, ports)
            self.outcome.seconds = time.monotonic() - self._begun
            if self.outcome.violations:
                self.outcome.kept = scratch.keep()
        return self.outcome

    async def _in(self, scratch: Scratch, database: DatabaseAddress, ports: Sequence[int]) -> None:
        options = self._options
        async with faults_before(database, (*APIS, *CONTROLLERS), options.server) as faults:
            ways = {} if faults is None else faults.addresses()
            installation = Installation(
                scratch, database, ways, runtime=options.runtime, image=options.image, ports=ports
            )
            try:
                async with installation.running():
                    await self._on(scratch, installation, faults)
                self._phase = "looking for leaks"
                left = await leaks.emptied(lambda: _processes(scratch))
                self._find(Promise.LEAKED_CONTAINER, left, "this process is still running after everything was stopped")
            finally:
                await shield_to_end(remove_owned(scratch, installation.settings, database))

    async def _on(self, scratch: Scratch, installation: Installation, faults: DatabaseFaults | None) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(CiClient(url)) for url in installation.urls]
            urls = installation.urls
            if self._options.relay is not None:
                urls = [await stack.enter_async_context(self._options.relay(url)) for url in urls]
            context = RunContext(
                seed=self._options.seed,
                project=scratch.path.name,
                image=self._options.image,
                scratch=scratch,
                clients=clients,
                reader_urls=urls,
                environment=installation.client_environment,
                has_witnesses=self._options.runtime == "process",
                keeps_logs=scratch.keeps_logs(),
                service_image=self._service_image(),
            )
            self._phase = "running a first job"
            await _first_job(clients[0], self._options.image)
            workloads = await workloads_of(scratch, installation.settings, installation.settings.database)
            stack.push_async_callback(workloads.close)
            load = self._load = Load(context, self.outcome, self._note)
            stack.push_async_callback(load.stop)
            if self._options.seconds is None:
                load.start(last=CALM_JOBS)
                self._phase = "running jobs"
                await load.done()
            else:
                load.start()
                self._faults = FaultInjector(
                    installation, workloads, context.processes, faults, on_hit=load.note_hit, note=self._note
                )
                await self._inject(self._options.seconds)
            self._phase = "waiting for all jobs to complete"
            await load.settle(SETTLE_SECONDS)
            await self._final_checks(scratch, installation, workloads, load, clients[0])
        self.outcome.troubles += [trouble for part in installation.parts for trouble in part.troubles]

    def _service_image(self) -> str | None:
        options = self._options
        return (options.service_image or options.image) if options.runtime == "docker" else None

    async def _inject(self, seconds: float) -> None:
        assert self._faults is not None, "created before"
        self._phase = f"{seconds:.0f} s of faults"
        schedule = fault_schedule(self._options.seed, self._faults.faults)
        await self._faults.inject(schedule, seconds, self.outcome.jobs.total)
        self.outcome.faults.update({str(fault): number for fault, number in sorted(self._faults.done.items())})
        self.outcome.missed.update({str(fault): number for fault, number in sorted(self._faults.missed.items())})

    async def _final_checks(
        self, scratch: Scratch, installation: Installation, workloads: Workloads, load: Load, client: CiClient
    ) -> None:
        self._phase = "reading all logs again"
        await load.compare_with_list(client, SETTLE_SECONDS)
        await load.read_again()
        self._phase = "filling all slots"
        endless = {"image": self._options.image, "command": "while :; do sleep 0.1; done", "timeout": 600}
        self.outcome.violations += await leaks.leaked_slots(client, SLOTS, endless)
        self._phase = "looking for leaks"
        self._find(Promise.ESCAPED, scratch.what_escaped(), "a job changed it, and it is not the job's")
        left = await leaks.emptied(workloads.left)
        self._find(Promise.LEAKED_CONTAINER, left, "it is left after all jobs have completed")
        # Unfinished submissions are kept for a while. Servers and controllers remove them when they start.
        leaks.age_submissions(scratch.data)
        for part in installation.parts:
            async with part.turn:
                await part.end(signal.SIGTERM)
                await part.start()
        await installation.up()
        ids = [job["job_id"] for job in await client.list_jobs(limit=1_000_000)]

        async def files() -> list[str]:
            return leaks.leaked_files(scratch.data, ids, load.with_uploads(), await workloads.waiting())

        within = leaks.COLLECTED_WITHIN_SECONDS
        self._find(Promise.LEAKED_FILE, await leaks.emptied(files, within), "no completed job may leave it")

        async def environments() -> list[str]:
            rows = {environment["reference"] for environment in await client.environments()}
            return sorted(await workloads.environments() ^ rows)

        left = await leaks.emptied(environments, within)
        self._find(Promise.LEAKED_ENVIRONMENT, left, "it is an image without a row, or a row without an image")
        for part in installation.parts:
            await part.leave()
        left = sorted(await workloads.waiting())
        self._find(Promise.LEAKED_CONTAINER, left, "it is warm, and the controllers have shut down")
        temporary = sorted(str(path) for path in scratch.temporary.iterdir())
        self._find(Promise.LEAKED_FILE, temporary, "it is left in the temporary directory after all parts have ended")

    def _find(self, promise: Promise, names: list[str], why: str) -> None:
        self.outcome.violations += leaks.leaks(promise, names, why)

    def _note(self, text: str) -> None:
        if self._timeline is not None:
            self._timeline.write(f"{datetime.now().isoformat(sep=' ', timespec='milliseconds')} {text}\n")


async def _processes(scratch: Scratch) -> list[str]:
    return [f"process {pid}: {command_of(pid)}" for pid in processes_of(scratch)]


async def _first_job(client: CiClient, image: str) -> None:
    """Run a job without any fault. Raises CannotBegin."""
    job_id = await client.create_job({"image": image, "command": "exit 0"})
    async with asyncio.timeout(_FIRST_JOB_SECONDS), aclosing(client.stream(job_id)) as events:
        async for event in events:
            if event["type"] == COMPLETE and not event["success"]:
                reason = (event["reason"] or {}).get("message", "")
                raise CannotBegin(f"a first job in {image} ended {event['conclusion']}: {reason}")
