"""Runs one planned job, and gathers the evidence about it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ci_client.aio import CiClient
from ci_client.errors import EX_SOFTWARE, EX_UNAVAILABLE, ClientError, SubmissionUncertain
from ci_client.events import complete_event_of
from ci_selftest.jobs.client_process import ClientProcess
from ci_selftest.jobs.evidence import Evidence
from ci_selftest.jobs.plans import JobPlan, Way
from ci_selftest.jobs.readers import (
    GIVE_UP_SECONDS,
    IDLE_SECONDS,
    PAUSE_SECONDS,
    Reading,
    answered,
    read_job,
    read_log,
    read_steadily,
    read_with_cuts,
)
from ci_selftest.scratch import Scratch

_GAVE_UP = frozenset({EX_UNAVAILABLE, EX_SOFTWARE})
"""Exit statuses of a command that did not see its job's end. No planned job has these exit codes."""


@dataclass(frozen=True)
class RunContext:
    """What all jobs of a run share."""

    seed: int
    project: str
    image: str
    scratch: Scratch
    clients: Sequence[CiClient]
    """One for each server."""
    reader_urls: Sequence[str]
    environment: dict[str, str]
    has_witnesses: bool
    """Whether jobs can write to the witness files."""
    keeps_logs: bool
    """Whether jobs are prevented from truncating their logs."""
    service_image: str | None
    """The image of services; None on a runtime that has no services."""
    processes: dict[int, ClientProcess] = field(default_factory=dict)
    """The running client processes, by the number of their job."""

    def witness(self, plan: JobPlan) -> Path | None:
        """Return the file in which the job records its start, if it can."""
        return self.scratch.witnesses / str(plan.number) if self.has_witnesses else None

    def spec(self, plan: JobPlan) -> dict[str, Any]:
        """Return the plan's spec in this run."""
        return plan.spec(
            self.image,
            project=self.project,
            witness=str(self.witness(plan) or ""),
            canary=str(self.scratch.canary),
            service_image=self.service_image,
            reopens=self.keeps_logs,
        )


class JobRun:
    """Submits a job, follows it, cancels it if that is planned, and gathers the evidence."""

    def __init__(self, plan: JobPlan, context: RunContext) -> None:
        self.plan = plan
        self.evidence = Evidence(plan)
        self._context = context
        self._client = context.clients[plan.number % len(context.clients)]
        self._process: ClientProcess | None = None
        if plan.has_client or plan.way in (Way.EXEC, Way.SUBMIT):
            directory = context.scratch.clients
            self._process = ClientProcess(directory, plan.number, context.environment)

    async def execute(self) -> None:
        """Run the job. If this is cancelled, the evidence so far stays."""
        async with asyncio.TaskGroup() as group:
            try:
                first_life = None
                if self.plan.way in (Way.EXEC, Way.SUBMIT):
                    first_life = group.create_task(self._first_life())
                    self.evidence.job_id = await self._named_by_process(first_life)
                else:
                    self.evidence.job_id = await self._submitted()
                if self.evidence.job_id is not None:
                    await self._follow(self.evidence.job_id, first_life)
            finally:
                self._context.processes.pop(self.plan.number, None)

    async def read_again(self) -> None:
        """Read the job and its log, retrying as often as needed."""
        assert self.evidence.job_id is not None, "known to the server"
        self.evidence.job, self.evidence.log, self.evidence.trouble = None, None, ""
        try:
            self.evidence.job = await read_job(self._client, self.evidence.job_id)
            attempts = range(1, self.evidence.job["attempt"] + 1)
            logs = [await read_log(self._client, self.evidence.job_id, attempt) for attempt in attempts]
            *self.evidence.earlier_logs, self.evidence.log = logs
            self.evidence.artifacts = await self._artifacts(self.evidence.job_id)
            self.evidence.tests = await self._tests(self.evidence.job_id)
        except ClientError as exc:
            self.evidence.trouble = f"{type(exc).__name__}: {exc}"
        witness = self._context.witness(self.plan)
        if witness is not None and witness.exists():
            self.evidence.starts = witness.read_text().count(self.plan.token)

    async def _artifacts(self, job_id: str) -> dict[str, str]:
        """Return the digests of the artifacts, each of which is downloaded and compared with what the server says."""
        output = self._context.scratch.projects / f"{self.plan.number}.artifacts"
        saved = await answered(lambda: self._client.download(job_id, output, replace=True))
        return {one.path: one.sha256 for one in saved}

    async def _tests(self, job_id: str) -> list[tuple[str, str]]:
        tests = await answered(lambda: self._client.tests(job_id))
        return [(test["name"], test["status"]) for test in tests]

    async def wait_for_end(self, within: float) -> None:
        """Wait up to `within` seconds until a job that is not followed has completed, and read it."""
        assert self.evidence.job_id is not None, "known to the server"
        deadline = asyncio.get_running_loop().time() + within
        await self.read_again()
        while (self.evidence.job or {}).get("status") != "completed":
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(PAUSE_SECONDS)
            await self.read_again()

    async def _submitted(self) -> str | None:
        spec = self._context.spec(self.plan)
        try:
            if self.plan.way is Way.REQUEST:
                return await self._client.create_job(spec)
            project = self._project(spec)
            return await self._client.submit(project)
        except SubmissionUncertain:
            return None
        except ClientError as exc:
            self.evidence.refusal = f"{type(exc).__name__}: {exc}"
            return None

    def _project(self, spec: dict[str, Any]) -> Path:
        project = self._context.scratch.projects / str(self.plan.number)
        self.plan.write_project(project, spec)
        return project

    async def _first_life(self) -> bool:
        assert self._process is not None, "a job that is submitted by a process"
        self._context.processes[self.plan.number] = self._process
        server = ["--server", self._client.server_url]
        if self.plan.way is Way.SUBMIT:
            project = await asyncio.to_thread(self._project, self._context.spec(self.plan))
            return await self._process.run("ci_cli", "submit", *server, str(project))
        spec = self._context.spec(self.plan)
        options = [f"--project={spec['project']}", f"--timeout={spec['timeout']}"]
        options += [f"--label={key}={value}" for key, value in spec["labels"].items()]
        options += [f"--env={key}={value}" for key, value in spec["env"].items()]
        command = ["/bin/sh", "-c", spec["command"]]
        return await self._process.run("ci_cli", "exec", *server, *options, spec["image"], "--", *command)

    async def _named_by_process(self, first_life: "asyncio.Task[bool]") -> str | None:
        assert self._process is not None, "a job that is submitted by a process"
        job_id = await self._process.job_id()
        if job_id is None and await first_life:
            said = self._process.stderr_tail()
            if self._process.exit_status != EX_UNAVAILABLE or SubmissionUncertain.WHAT not in said:
                self.evidence.refusal = said
        return job_id

    async def _follow(self, job_id: str, first_life: "asyncio.Task[bool] | None") -> None:
        plan, context = self.plan, self._context
        steady, cut = Reading("steady"), Reading("cut")
        self.evidence.readings += [steady, cut]
        random = Random(f"{context.seed}/reader/{plan.number}")  # noqa: S311  # repeatable, no secret
        turn = plan.number % len(context.reader_urls)
        urls = [*context.reader_urls[turn:], *context.reader_urls[:turn]]
        async with asyncio.TaskGroup() as group:
            group.create_task(_read_steadily(urls[0], job_id, steady))
            group.create_task(read_with_cuts(urls, job_id, cut, random))
            if self._process is not None:
                group.create_task(self._live_on(self._process, urls[0], job_id, first_life))
            if plan.cancel_after is not None:
                group.create_task(self._cancel(job_id, plan.cancel_after))
        await self.read_again()

    async def _live_on(self, process: ClientProcess, url: str, job_id: str, life: "asyncio.Task[bool] | None") -> None:
        """Run a client process, restarting it whenever it was killed; each resumes where the last one stopped."""
        reading = Reading("process", connections=1)
        self.evidence.readings.append(reading)
        self._context.processes[self.plan.number] = process
        resume = ("ci_selftest.jobs.resume", url, job_id, str(process.received))
        ended = await life if life is not None else await process.run(*resume)
        if ended and life is not None:
            self.evidence.exit_status = process.exit_status
        while not ended:
            reading.connections += 1
            ended = await process.run(*resume)
        reading.data += process.received.read_bytes()
        if process.exit_status in _GAVE_UP or (self.evidence.exit_status is None and process.exit_status != 0):
            reading.problem = f"it ended with {process.exit_status}: {process.stderr_tail()}"
        else:
            reading.complete = complete_event_of(await read_job(self._client, job_id))

    async def _cancel(self, job_id: str, after: float) -> None:
        """Cancel the job, retrying until there is an answer."""
        await asyncio.sleep(after)
        with suppress(ClientError):  # It has completed or is unknown, which the evidence shows.
            await answered(lambda: self._client.cancel_job(job_id))


async def _read_steadily(url: str, job_id: str, reading: Reading) -> None:
    async with CiClient(url, reconnect_seconds=GIVE_UP_SECONDS, idle_seconds=IDLE_SECONDS) as client:
        await read_steadily(client, job_id, reading)
