"""Many jobs at once: against the engine's own best throughput, without a pool and with a full one."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.frame.engine import LABEL, RawEngine
from bench.frame.lab import Lab
from bench.frame.limits import GATE, RUNC
from bench.frame.model import Better, Figure, LeftOut, Limit, Series
from bench.server import Pool, cleared, own_prefix, serving
from ci_client.aio import CiClient
from tests.helpers.service import finished

NAME = "throughput"
TITLE = "Throughput: many jobs at once"
WIDTHS = (2, 4, 8)
ENGINE_SLACK = 1.2
"""The engine's best rate is a measurement: ours may exceed it by chance, but not by more than this factor."""
COMMAND = "exit 0"
BRIDGE_NAME = "com.docker.network.bridge.name"
LESSONS = 4
PREFIX = "bench-many"
CONNECTIONS = 8
"""The number of connections on which jobs are submitted."""
LOOK_SECONDS = 0.05
"""The interval of asking whether all jobs have ended."""
END_SECONDS = 300.0
"""How long all jobs may take to end."""


async def measure(lab: Lab) -> list[Figure]:
    """Measure the engine, jobs without a pool, and bursts into a full pool, in turns."""
    async with RawEngine.connected() as engine, config_of_a_job(lab, engine) as config:
        width, widths = await best_width(engine, config, lab.samples(40, 16))
        with ExitStack() as stack:
            cold = stack.enter_context(serving(f"{PREFIX}-cold", CI_POOL_SIZE="0", MAX_CONCURRENCY=str(width)))
            size = lab.samples(50, 12)
            pool = dict.fromkeys(("CI_POOL_SIZE", "CI_POOL_PER_KEY", "MAX_CONCURRENCY"), str(size))
            warm = stack.enter_context(serving(f"{PREFIX}-warm", **pool))
            jobs = lab.samples(200, 30)
            rates: dict[str, list[float]] = {"engine": [], "cold": [], "burst": []}
            ways: list[str] = []
            full = await learned(lab, warm.url, size)
            for _ in range(lab.samples(3, 2)):
                await full.filled(size)
                await cleared(own_prefix(f"{PREFIX}-warm"), but=size)
                rates["engine"].append(await engine.rate(config, jobs // 2, width))
                rates["cold"].append(await clear_rate(lab, cold.url, jobs))
                rate, new_ways = await burst(lab, warm.url, size)
                rates["burst"].append(rate)
                ways += new_ways
    if full.trouble:
        lab.leave_out("bursts into a full pool", f"it was {full.trouble}")
    bounds = await limits(lab, rates["engine"])
    warm_starts = f"{ways.count('warm')} of {len(ways)}"
    lab.note(
        f"The engine's own best: create, start, wait and remove by its HTTP API, {width} at a time, the best of "
        f"{', '.join(f'{n}: {rate:.1f}/s' for n, rate in widths.items())}. Its containers have the HostConfig of one "
        "of the product's: bind mounts, no log driver, a network like that of the jobs."
    )
    lab.note(
        f"Without a pool: {jobs} jobs submitted at once, `CI_POOL_SIZE=0`, `MAX_CONCURRENCY={width}`; the time ends "
        "once the last job has its verdict and the last container is gone. Bursts: "
        f"{size} at once, `CI_POOL_SIZE={size}`, `CI_POOL_PER_KEY={size}`, `MAX_CONCURRENCY={size}`, until the "
        f"last verdict (their containers go later); {warm_starts} starts were warm."
    )
    reference = Series("the engine", tuple(rates["engine"]))
    return [
        Figure(
            "throughput.cold",
            f"{jobs} jobs at once, no pool",
            "jobs/s",
            Better.MORE,
            Series("ci-server, no pool", tuple(rates["cold"])),
            reference,
            bounds["cold"],
        ),
        Figure(
            "throughput.burst",
            f"a burst of {size} into a pool of {size}",
            "jobs/s",
            Better.MORE,
            Series("ci-server, full pool", tuple(rates["burst"])),
            reference,
            bounds["burst"],
        ),
    ]


async def limits(lab: Lab, engine: list[float]) -> dict[str, tuple[str, ...]]:
    """Return the limits of cold starts and of warm ones."""
    bounds = [lab.limit(Limit("the engine's best", tuple(engine), "jobs/s", Better.MORE, ENGINE_SLACK), "engine")]
    bounds += await lab.limits(RUNC)
    await lab.limits(GATE)
    gate = lab.results.limits[GATE]
    processors = os.cpu_count() or 1
    rates = tuple(1000 * processors / sample for sample in gate.samples)
    name = f"one FIFO opened after the other on each of {processors} processors"
    return {"cold": tuple(bounds), "burst": (lab.limit(Limit(name, rates, "jobs/s", Better.MORE), "gates"),)}


async def best_width(engine: RawEngine, config: dict[str, Any], count: int) -> tuple[int, dict[int, float]]:
    """Return how many containers at a time the engine runs fastest, and its rate with each number."""
    await engine.rate(config, 2, 2)
    rates = {width: await engine.rate(config, count, width) for width in WIDTHS}
    return max(rates, key=lambda width: rates[width]), rates


@asynccontextmanager
async def config_of_a_job(lab: Lab, engine: RawEngine) -> AsyncIterator[dict[str, Any]]:
    """Yield a configuration that differs from the product's own containers only in the command.

    It is copied from a container of the product, and its network from that of the jobs, so that both stay the same.
    """
    with serving(f"{PREFIX}-model", CI_POOL_SIZE="0") as service:
        async with CiClient(service.url) as client:
            job_id = await client.create_job({"image": lab.image, "command": "echo; sleep 60"})
            async for event in client.stream(job_id):
                if event["type"] == "log":
                    break
            prefix = own_prefix(f"{PREFIX}-model")
            listed = await engine.ask("GET", "/containers/json", filters=f'{{"name":["^/{prefix}"]}}')
            if len(listed) != 1:
                raise LeftOut(f"the product's one job has {len(listed)} containers")
            inspected = await engine.ask("GET", f"/containers/{listed[0]['Id']}/json")
            host = inspected["HostConfig"]
            network = await engine.ask("GET", f"/networks/{host['NetworkMode']}")
            host["Mounts"] = [stand_in(lab.directory, mount) for mount in host.get("Mounts") or []]
            await client.cancel_job(job_id)
            await finished(client, job_id)
            await cleared(prefix)
    options = {name: value for name, value in network["Options"].items() if name != BRIDGE_NAME}
    same = {"Driver": network["Driver"], "Internal": network["Internal"], "Options": options}
    own = await engine.ask("POST", "/networks/create", same | {"Name": f"{PREFIX}-{os.getpid()}"})
    try:
        yield {
            "Image": lab.image,
            "Labels": {LABEL: "engine"},
            "Entrypoint": ["/bin/sh"],
            "Cmd": ["-c", COMMAND],
            "Env": inspected["Config"]["Env"],
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": host | {"NetworkMode": own["Id"]},
        }
    finally:
        await engine.ask("DELETE", f"/networks/{own['Id']}")


def stand_in(directory: Path, mount: dict[str, Any]) -> dict[str, Any]:
    """Return the mount with a source of the same kind below `directory`, since a job's own source is removed."""
    source = directory / f"mount{mount['Target'].replace('/', '-')}"
    mode = os.stat(mount["Source"]).st_mode
    if stat.S_ISDIR(mode):
        source.mkdir(exist_ok=True)
    elif stat.S_ISFIFO(mode):
        os.mkfifo(source)
    else:
        source.write_bytes(Path(mount["Source"]).read_bytes())
    return mount | {"Source": str(source)}


async def learned(lab: Lab, url: str, size: int) -> Pool:
    """Return the pool of a server after enough bursts for it to learn their size, or at most LESSONS."""
    pool = Pool(url)
    for _ in range(LESSONS):
        await burst(lab, url, size)
        if await pool.filled() and await pool.waiting() >= size:
            break
    return pool


async def carried_out(lab: Lab, url: str, jobs: int) -> list[dict[str, Any]]:
    """Submit many trivial jobs at once, and return them once all have succeeded.

    Only the last job's stream is followed, which is silent until then, so that watching costs nothing.
    """
    request = {"image": lab.image, "command": COMMAND}
    sending = asyncio.Semaphore(CONNECTIONS)

    async def submit(client: CiClient) -> str:
        async with sending:
            return await client.create_job(request)

    async with CiClient(url) as client:
        ids = set(await asyncio.gather(*(submit(client) for _ in range(jobs))))
        await finished(client, max(ids), within=END_SECONDS)
        await none_left(url)
        ended = [job for job in await client.list_jobs(limit=jobs) if job["job_id"] in ids]
    bad = [job for job in ended if not job["success"]]
    if bad or len(ended) != jobs:
        raise RuntimeError(f"of {jobs} jobs of the benchmark, {len(ended)} are there, and ended badly: {bad}")
    return ended


async def none_left(url: str) -> None:
    """Wait until no job waits or runs, since others may end after the last one."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http, asyncio.timeout(END_SECONDS):
        while (figures := (await http.get("/metrics")).json())["queued"] or figures["running"]:
            await asyncio.sleep(LOOK_SECONDS)


async def clear_rate(lab: Lab, url: str, jobs: int) -> float:
    """Return how many jobs per second run, until their containers are removed."""
    begun = time.perf_counter()
    await carried_out(lab, url, jobs)
    await cleared(own_prefix(f"{PREFIX}-cold"))
    return jobs / (time.perf_counter() - begun)


async def burst(lab: Lab, url: str, jobs: int) -> tuple[float, list[str]]:
    """Return how many jobs per second get their verdict, and how each got its container."""
    begun = time.perf_counter()
    ends = await carried_out(lab, url, jobs)
    rate = jobs / (time.perf_counter() - begun)
    return rate, [job.get("start_way") or "cold" for job in ends]
