"""From submission to the first byte of the job's own output, warm and cold, against `docker run`."""

import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.frame.engine import RawEngine, docker_run
from bench.frame.lab import Lab
from bench.frame.limits import GATE
from bench.frame.model import Better, Figure, Series
from bench.frame.turns import in_turns
from bench.server import Pool, cleared, own_prefix, serving
from ci_client.aio import CiClient
from tests.helpers.service import zipped

NAME = "start"
TITLE = "Start: submission to first byte"
UPLOAD_BYTES = 100 * 1024
COMMAND = "echo hello"


@dataclass(frozen=True, slots=True)
class Times:
    """One job's times, in milliseconds since its submission began."""

    first: float
    whole: float
    way: str
    """How the job got its container."""


def upload(directory: Path, image: str) -> Path:
    """Return a zip of 100 KB that does not compress, with a ci.yaml that runs the command."""
    project = directory / "start.zip"
    ci_yaml = f"image: {image}\nsteps: [{{run: {COMMAND}}}]\n"
    project.write_bytes(zipped({"ci.yaml": ci_yaml, "data": os.urandom(UPLOAD_BYTES)}))
    return project


async def one_job(client: CiClient, project: Path) -> Times:
    """Submit the project and follow it to its end, by one request."""
    begun = time.perf_counter()
    first = whole = 0.0
    job_id = ""
    async for event in client.submit_and_stream(project):
        match event["type"]:
            case "job_id":
                job_id = event["job_id"]
            case "log":
                first = first or time.perf_counter()
            case "complete":
                whole = time.perf_counter()
                if not event["success"]:
                    raise RuntimeError(f"a job of the benchmark ended badly: {event}")
    way = (await client.get_job(job_id)).get("start_way") or "cold"
    return Times((first - begun) * 1000, (whole - begun) * 1000, way)


async def measure(lab: Lab) -> list[Figure]:
    """Measure a server with a pool, one without, and `docker run`, in turns."""
    bounds = await lab.limits(GATE)
    project = upload(lab.directory, lab.image)
    with ExitStack() as stack:
        warm = stack.enter_context(serving("bench-warm"))
        cold = stack.enter_context(serving("bench-cold", CI_POOL_SIZE="0"))
        pool = Pool(warm.url)
        async with RawEngine.connected() as engine, CiClient(warm.url) as on_warm, CiClient(cold.url) as on_cold:

            async def settle() -> None:
                await pool.filled()
                await cleared(own_prefix("bench-cold"))
                await engine.quiet()

            async def docker() -> Times:
                run = await docker_run(lab.image, ["/bin/sh", "-ec", COMMAND])
                return Times(run.first, run.whole, "docker")

            await one_job(on_warm, project)  # It teaches the pool the profile.
            taken = await in_turns(
                lab.samples(100, 10),
                {
                    "warm": lambda: one_job(on_warm, project),
                    "cold": lambda: one_job(on_cold, project),
                    "docker run": docker,
                },
                settle=settle,
            )
    if pool.trouble:
        lab.leave_out("some warm starts", f"the pool was {pool.trouble}")
    for name in ("warm", "cold"):
        ways = Counter(path.way for path in taken[name])
        counts = ", ".join(f"{count} {way}" for way, count in ways.most_common())
        lab.note(f"How the jobs of the server for {name} starts got their containers: {counts}.")
    lab.note(
        f"Each job is a zip of {UPLOAD_BYTES // 1024} KB, submitted and followed by the client library over HTTP; its "
        f"one step is `{COMMAND}`. Beside it, `docker run --rm IMAGE /bin/sh -ec '{COMMAND}'`, which gets no files. "
        "Both have the engine's bridge network. Before each, the pool is full again and the containers of the one "
        "before are gone."
    )
    return [
        figure(taken, bounds, "start.warm", "first byte, warm", "warm", "first"),
        figure(taken, bounds, "start.cold", "first byte, cold", "cold", "first"),
        figure(taken, bounds, "start.warm_whole", "whole, warm", "warm", "whole"),
        figure(taken, bounds, "start.cold_whole", "whole, cold", "cold", "whole"),
    ]


def figure(
    taken: dict[str, list[Times]], bounds: tuple[str, ...], key: str, title: str, name: str, moment: str
) -> Figure:
    """Return the figure that compares ours with `docker run`."""
    ours, reference = (
        Series(shown, tuple(getattr(path, moment) for path in taken[contender]))
        for shown, contender in ((f"ci-server, {name}", name), ("`docker run`", "docker run"))
    )
    return Figure(key, title, "ms", Better.LESS, ours, reference, bounds)
