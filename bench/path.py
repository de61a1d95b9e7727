"""The duration of every step of a job's path, over HTTP.

    python -m bench.path [--runs N] [--image IMAGE] [--python-image IMAGE]

Starts a server of its own on temporary paths and runs `echo` jobs and container jobs, one after the other and in turns.
The stations are those of the job's `timing`; before and after them stand the client's own: from the request to
`accepted`, and from `completing` to the event `complete`. The last line is of jobs whose last output is the time at
which they wrote it: from there to `complete` received.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.figures import machine, table
from ci_client.aio import CiClient
from ci_common.run_directory.attributes import allow_changes_to_logs

STAMP = "import os, time; os.write(1, str(time.time()).encode()); os._exit(0)"
REST_SECONDS = 0.3
"""The pause between two jobs, so that the removal of one's container does not slow down the next."""


async def follow(client: CiClient, request: dict[str, Any]) -> tuple[float, float, str, dict[str, Any]]:
    """Run one job after a pause; return the times of the request and of `complete`, its log, and the job."""
    await asyncio.sleep(REST_SECONDS)
    asked = time.time()
    job_id = await client.create_job(request)
    log = ""
    async for event in client.stream(job_id):
        if event["type"] == "log":
            log += event["data"]
    return asked, time.time(), log, await client.get_job(job_id)


def steps_of(asked: float, received: float, job: dict[str, Any]) -> dict[str, float]:
    """Return the seconds that each step took, by the station at its end."""
    passed = [(e["station"], datetime.fromisoformat(e["time"]).timestamp()) for e in job["timing"]]
    path = [*passed, ("complete received", received)]
    before, steps = asked, {}
    for station, instant in path:
        steps[station] = instant - before
        before = instant
    return steps | {"all of it": received - asked}


def quantiles(seconds: Iterable[float]) -> list[str]:
    """Return the 10th, 50th and 99th percentile in milliseconds. The first hardly depends on other load."""
    ordered = sorted(seconds)
    return [f"{ordered[round(share * (len(ordered) - 1))] * 1000:.2f}" for share in (0.1, 0.5, 0.99)]


async def measure(client: CiClient, image: str, python_image: str, runs: int) -> str:
    """Return the tables of `runs` turns, after one that does not count."""
    kinds: dict[str, dict[str, Any]] = {
        "echo": {"type": "echo", "payload": {"a": 1}},
        "container, cold": {"image": image, "command": ["echo", "hello"], "network": False},
    }
    taken: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in kinds}
    ends = []
    stamped = {"image": python_image, "command": ["python3", "-c", STAMP], "network": False}
    for turn in range(runs + 1):
        for kind, request in kinds.items():
            asked, received, _, job = await follow(client, request)
            for station, seconds in steps_of(asked, received, job).items() if turn else ():
                taken[kind][station].append(seconds)
        _, received, log, _ = await follow(client, stamped)
        ends += [received - float(log)] if turn else []
    tables = [
        f"{kind}, {runs} jobs\n\n"
        + table(
            ["step that ends with", "p10 ms", "p50 ms", "p99 ms"], ((name, *quantiles(v)) for name, v in steps.items())
        )
        for kind, steps in taken.items()
    ]
    last = "last byte written to `complete` received: p10 {} ms, p50 {} ms, p99 {} ms".format(*quantiles(ends))
    return "\n\n".join([machine(), *tables, last])


async def main() -> None:
    """Measure on a new server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="busybox")
    parser.add_argument("--python-image", default="python:3.12-slim")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        async with served(Path(directory)) as url, CiClient(url) as client:
            print(await measure(client, arguments.image, arguments.python_image, arguments.runs))


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[str]:
    """Run a server in a separate process, and yield its URL."""
    state = {"CI_DB_PATH": str(directory / "ci_jobs.db"), "XDG_STATE_HOME": str(directory)}
    environment = os.environ | state | {"CI_RUNTIME": "docker", "CI_CONTAINER_PREFIX": "path-"}
    program = (sys.executable, "-m", "ci_cli", "serve", "--port", "0")
    with (directory / "server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*program, env=environment, stderr=log)
    announcement = directory / "ci-server" / "server.json"
    try:
        while not announcement.exists():
            assert process.returncode is None, (directory / "server.log").read_text()
            await asyncio.sleep(0.05)
        yield json.loads(announcement.read_text())["url"]
    finally:
        process.terminate()
        await process.wait()
        allow_changes_to_logs(directory / "ci_jobs.data")


if __name__ == "__main__":
    asyncio.run(main())
