"""An agent that carries out attempts in its own directory, for controllers that reach it through a socket alone.

    python -m tests.contracts.socket_agent DIRECTORY SOCKET

One request per connection, as a line of JSON: the method of `Execution`, the job, and what else it takes. The answer is
a line of JSON, too. `events` answers with one line for each wake-up, until the connection is closed. `log` answers with
the bytes of the log from an offset on.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ci_common.errors import CiError
from ci_common.jobs import Conclusion, Job
from ci_common.run_directory.layout import DataDirectory
from ci_common.settings import Settings
from ci_common.system.tasks import background_task
from ci_common.system.watch import FileWatcher
from ci_controller.execution.protocol import Collected, Execution, Scope
from ci_controller.policy import Observation
from ci_controller.runtime.process.runtime import ProcessRuntime
from ci_controller.runtime.protocol import WorkloadKey
from tests.contracts.local_execution import execution_on

JOB = TypeAdapter(Job)
OBSERVATION = TypeAdapter(Observation)
COLLECTED = TypeAdapter(Collected)
KEYS = TypeAdapter(list[WorkloadKey])
LOG_BYTES = 65536
"""The most bytes of a log in one answer."""
WAKE_SECONDS = 0.2
"""How long a wake-up may take. An observation that comes while it waits changes what the local execution listens to."""


class Agent:
    """Answers the requests of controllers, of which only the last one that asked gets wake-ups."""

    def __init__(self, execution: Execution, data: DataDirectory) -> None:
        self._execution = execution
        self._data = data
        self._listeners: dict[WorkloadKey, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            job = JOB.validate_python(request["job"]) if request.get("job") else None
            if request["method"] == "events":
                assert job is not None, "events are those of a job"
                await self._listen(job, reader, writer)
                return
            try:
                answer = {"answer": await self._answer(request, job)}
            except (CiError, OSError) as exc:
                answer = {"error": type(exc).__name__, "message": str(exc)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass  # The controller has gone.
        finally:
            writer.close()

    async def _answer(self, request: dict[str, Any], job: Job | None) -> Any:
        execution = self._execution
        if request["method"] == "list":
            return KEYS.dump_python([*await execution.list()], mode="json")
        assert job is not None, "every other method is about a job"
        match request["method"]:
            case "observe":
                seen = await execution.observe(job, measure=request["measure"])
                return OBSERVATION.dump_python(seen, mode="json")
            case "stop":
                await execution.stop(job, request["grace"])
            case "collect":
                conclusion = request["conclusion"] and Conclusion(request["conclusion"])
                return COLLECTED.dump_python(await execution.collect(job, conclusion), mode="json")
            case "clean_up":
                await execution.clean_up(job, Scope(request["scope"]))
            case "log":
                return self._read_log(job, request["offset"])
            case "prepare" | "start" | "release_gate" as method:
                return await getattr(execution, method)(job)
        return None

    def _read_log(self, job: Job, offset: int) -> str:
        path = self._data.run(job.id, job.attempt).log
        if not path.exists():
            return ""
        with path.open("rb") as log:
            log.seek(offset)
            return base64.b64encode(log.read(LOG_BYTES)).decode()

    async def _listen(self, job: Job, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = WorkloadKey(job.id, job.attempt)
        former = self._listeners.pop(key, None)
        if former is not None:
            former.cancel()
            await asyncio.gather(former, return_exceptions=True)
        own = self._listeners[key] = asyncio.create_task(self._tell(job, writer))
        await reader.read()  # Until the controller closes the connection, or goes.
        own.cancel()
        await asyncio.gather(own, return_exceptions=True)

    async def _tell(self, job: Job, writer: asyncio.StreamWriter) -> None:
        async with self._execution.events(job) as wakeups:
            while True:
                phase = wakeups.peek(job)
                writer.write(json.dumps(phase).encode() + b"\n")
                await writer.drain()
                await wakeups.wait(WAKE_SECONDS)


@asynccontextmanager
async def agent_in(directory: Path) -> AsyncIterator[Agent]:
    """Yield an agent that runs jobs as processes in a directory."""
    data = DataDirectory(directory)
    data.create()
    runtime = ProcessRuntime(Settings(data_dir=data.path), data)
    await runtime.open()
    try:
        async with FileWatcher() as watcher:
            execution = execution_on(runtime, data, watcher)
            async with background_task(execution.run(), name="execution"):
                yield Agent(execution, data)
    finally:
        await runtime.close()


async def main(directory: Path, socket: Path) -> None:
    async with agent_in(directory) as agent:
        server = await asyncio.start_unix_server(agent.serve, socket, limit=2**24)
        print("ready", flush=True)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
