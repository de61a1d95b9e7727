"""An execution whose run directories lie elsewhere: all that it knows, it knows through a socket (`socket_agent`).

The log is shipped by offset: a controller asks for what follows its own copy, and the digest of a completed attempt is
that of the copy, which is what readers get.
"""

import asyncio
import base64
import hashlib
import json
import math
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ci_common import errors, runtime_faults
from ci_common.jobs import Conclusion, Job
from ci_common.runtime_faults import RuntimeUnavailable
from ci_controller.execution.protocol import Collected, Scope, Wakeups
from ci_controller.policy import Observation, WorkloadPhase
from ci_controller.runtime.protocol import WorkloadKey
from tests.contracts.socket_agent import COLLECTED, JOB, KEYS, OBSERVATION


class SocketExecution:
    """The execution of one controller on an agent. `logs` is where this controller's machine keeps logs."""

    runtime_name = "socket"

    def __init__(self, socket: Path, logs: Path) -> None:
        self._socket = socket
        self._logs = logs

    async def prepare(self, job: Job) -> None:
        await self._ask("prepare", job)

    async def start(self, job: Job) -> None:
        await self._ask("start", job)

    async def observe(self, job: Job, *, measure: bool = False) -> Observation:
        seen = OBSERVATION.validate_python(await self._ask("observe", job, measure=measure))
        await self._fetch_log(job, seen.usage.log_bytes)  # Not all: a job may write faster than it is fetched.
        return seen

    async def release_gate(self, job: Job) -> bool:
        return bool(await self._ask("release_gate", job))

    async def stop(self, job: Job, grace: float) -> None:
        await self._ask("stop", job, grace=grace)

    async def collect(self, job: Job, conclusion: Conclusion | None = None) -> Collected:
        left = COLLECTED.validate_python(await self._ask("collect", job, conclusion=conclusion))
        log = await self._fetch_log(job)
        return replace(left, log_bytes=len(log), log_sha256=hashlib.sha256(log).hexdigest())

    async def clean_up(self, job: Job, scope: Scope = Scope.ALL) -> None:
        await self._ask("clean_up", job, scope=scope)

    async def list(self) -> Collection[WorkloadKey]:
        return KEYS.validate_python(await self._ask("list"))

    @asynccontextmanager
    async def events(self, job: Job) -> AsyncIterator[Wakeups]:
        reader, writer = await self._connect()
        wakeups = _SocketWakeups()
        writer.write(json.dumps({"method": "events", "job": JOB.dump_python(job, mode="json")}).encode() + b"\n")
        hearing = asyncio.create_task(wakeups.hear(reader))
        try:
            await wakeups.wait(5)  # The agent says that it listens: what happens from now on wakes.
            yield wakeups
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            writer.close()

    async def _fetch_log(self, job: Job, size: float = math.inf) -> bytes:
        """Append to this controller's copy of the log until it has `size` bytes, or all; return what it has."""
        path = self._logs / f"{job.id}.{job.attempt}"
        with path.open("ab+") as copy:
            while (end := copy.seek(0, 2)) < size and (part := await self._ask("log", job, offset=end)):
                copy.write(base64.b64decode(part))
                copy.flush()
        return path.read_bytes()

    async def _ask(self, method: str, job: Job | None = None, **more: Any) -> Any:
        reader, writer = await self._connect()
        try:
            request = {"method": method, "job": job and JOB.dump_python(job, mode="json"), **more}
            writer.write(json.dumps(request).encode() + b"\n")
            answer = json.loads(await reader.readline() or b"null")
        except (ConnectionError, ValueError) as exc:
            raise RuntimeUnavailable(f"the agent does not answer: {exc}") from exc
        finally:
            writer.close()
        if answer is None:
            raise RuntimeUnavailable("the agent has closed the connection")
        if "error" in answer:
            known = getattr(runtime_faults, answer["error"], None) or getattr(errors, answer["error"], OSError)
            raise known(answer["message"])
        return answer["answer"]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_unix_connection(self._socket, limit=2**24)
        except OSError as exc:
            raise RuntimeUnavailable(f"the agent cannot be reached: {exc}") from exc


class _SocketWakeups:
    """What the agent tells of one attempt."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._phase: WorkloadPhase | None = None

    async def hear(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            phase = json.loads(line)
            self._phase = None if phase is None else WorkloadPhase(phase)
            self._woken.set()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def peek(self, job: Job) -> WorkloadPhase | None:
        return self._phase
