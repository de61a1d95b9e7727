"""From the last byte that a job writes to its reader's verdict."""

import time

from bench.frame.engine import RawEngine, docker_run
from bench.frame.lab import Lab
from bench.frame.limits import GATE
from bench.frame.model import Better, Figure, Series
from bench.frame.turns import in_turns
from bench.server import Pool, serving
from ci_client.aio import CiClient

NAME = "end"
TITLE = "End: last byte to verdict"
COMMAND = ["/bin/sh", "-c", "sleep 2; exec date +%s%N"]
"""Its last act is to write the time. The sleep lets the engine finish the work that follows a start."""


def milliseconds_since(output: str | bytes) -> float:
    """Return how long ago the time was that a job has written. Both use this machine's clock."""
    return (time.time_ns() - int(output)) / 1e6


async def measure(lab: Lab) -> list[Figure]:
    """Measure jobs, followed from their beginning, and `docker run`, in turns."""
    bounds = await lab.limits(GATE)
    with serving() as service:
        pool = Pool(service.url)
        async with RawEngine.connected() as engine, CiClient(service.url) as client:

            async def settle() -> None:
                await pool.filled()
                await engine.quiet()

            async def job() -> float:
                written, taken = "", 0.0
                job_id = await client.create_job({"image": lab.image, "command": COMMAND})
                async for event in client.stream(job_id):
                    if event["type"] == "log":
                        written += event["data"]
                    elif event["type"] == "complete":
                        taken = milliseconds_since(written)
                        assert event["success"], event
                return taken

            async def docker() -> float:
                return milliseconds_since((await docker_run(lab.image, COMMAND)).output)

            await job()  # From which the pool learns.
            taken = await in_turns(lab.samples(100, 10), {"job": job, "docker": docker}, settle=settle)
    lab.note(
        f"The job's command is `{COMMAND[-1]}`, so its last output is the time; its reader looks at the same "
        "clock when it has `complete`, which says that the log is whole and the container has ended. Beside it, the "
        "end of `docker run --rm` of the same. In those two seconds the engine has made the container that is to wait "
        "for the next job."
    )
    if pool.trouble:
        lab.leave_out("the end of some warm starts", f"the pool was {pool.trouble}")
    ours, reference = Series("ci-server", tuple(taken["job"])), Series("`docker run`", tuple(taken["docker"]))
    return [Figure("end", "last byte to verdict", "ms", Better.LESS, ours, reference, bounds)]
