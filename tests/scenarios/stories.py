"""What a crash story needs: a service that can be killed and started again, and jobs that wait for the test."""

import asyncio
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ci_client.aio import CiClient
from ci_common.run_directory.layout import DataDirectory, RunDirectory
from ci_common.settings import Settings
from ci_common.wire.stream import LOG
from tests.helpers.service import Service, containers, finished, says, text_of, until
from tests.helpers.waiting import eventually

QUIET = "trap 'exit 9' TERM; exec 2>/dev/null"
"""Makes a command end without a word of its shell where it is stopped."""
WAIT = f"{QUIET}; echo up; while [ ! -e go ]; do sleep 0.05; done; echo down"
"""A command that writes `up`, waits until `Story.let_end` is called, and writes `down`."""


@dataclass
class Story:
    """One installation. `server` is `ci serve`, whose address stays the same over restarts."""

    launch: Callable[..., Service]
    environment: dict[str, str]
    image: str
    server: Service = field(init=False)
    client: CiClient = field(init=False)
    controllers: list[Service] = field(default_factory=list)
    received: str = ""
    """What `read` has received so far."""

    async def begin(self, **settings: str) -> None:
        """Start the server, in a thread: one of the test's own may stand before its database."""
        self.server = await asyncio.to_thread(self.launch, PORT=self.environment["PORT"], **settings)
        self.client = CiClient(self.server.url)

    async def end(self) -> None:
        """End what `begin` and `controller` started but the server, which the fixture `start` ends."""
        await self.client.__aexit__(None, None, None)
        for controller in self.controllers:
            controller.close()

    async def submit(self, command: str, **limits: Any) -> str:
        """Submit a job and return its id."""
        return await self.client.create_job({"image": self.image, "command": command, **limits})

    async def submit_and_see(self, text: str, command: str, **limits: Any) -> str:
        """Submit a job and return its id once its log has `text`."""
        job_id = await self.submit(command, **limits)
        await self.sees(job_id, text)
        return job_id

    async def sees(self, job_id: str, text: str) -> None:
        """Return once the log of the job has `text`."""
        await until(self.client, job_id, says(text))

    async def wrote(self, job_id: str, text: str) -> None:
        """Return once the log's file has `text`, which needs no server."""
        log = self._run(job_id).log
        await eventually(lambda: log.exists() and text in log.read_text(), f"the job has written {text!r}")

    async def read(self, job_id: str) -> str:
        """Follow the job to its end with one stream and return the text of its log events."""
        async for event in self.client.stream(job_id):
            self.received += event["data"] if event["type"] == LOG else ""
        return self.received

    async def pass_deadline(self, job_id: str, timeout: float) -> None:
        """Return once the job is past its timeout in seconds, by the clock of its log."""
        begun = self._run(job_id).log.stat().st_mtime
        await eventually(lambda: time.time() > begun + timeout, "the deadline of the job has passed")

    def controller(self, **settings: str) -> Service:
        """Start a controller in a process of its own."""
        controller = Service(self.environment | settings, "controller")
        controller.launch()
        self.controllers.append(controller)
        return controller

    async def ends(self, job_id: str, conclusion: str, log: str, *, attempts: int = 1) -> dict[str, Any]:
        """Return the job once it has completed, which it must have done with this conclusion and this log."""
        job = await finished(self.client, job_id)
        assert (job["conclusion"], job["attempt"]) == (conclusion, attempts), job
        text = await text_of(self.client, job_id)
        assert text == log, text
        return job

    def let_end(self, job_id: str) -> None:
        """Let a job that runs WAIT end."""
        (self._run(job_id).workspace / "go").touch()

    def nothing_runs(self) -> bool:
        """Return whether the installation has no container and no process but the server any more."""
        if self.environment["CI_RUNTIME"] == "docker":
            return not containers(self.environment["CI_CONTAINER_PREFIX"])
        jobs = str(DataDirectory(Settings.from_env(self.environment).data_path).jobs)
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return jobs not in listing

    def _run(self, job_id: str) -> RunDirectory:
        return DataDirectory(Settings.from_env(self.environment).data_path).run(job_id, 1)
