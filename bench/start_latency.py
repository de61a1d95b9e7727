"""From submission to verdict, against the engine's own command line, in turns within one run.

    python -m bench.start_latency [--image IMAGE] [--runs N]

Starts a server of its own on temporary paths. Prints medians in milliseconds and the ratio to `docker run`; only the
ratio holds on other machines.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from ci_client.aio import CiClient
from ci_common.settings import Settings
from ci_server.app import create_app
from ci_server.serving import serve


async def one_job(client: CiClient, image: str) -> tuple[float, float]:
    """Return the seconds until the first byte of the log, and until the verdict."""
    begun = time.perf_counter()
    first = 0.0
    job_id = await client.create_job({"image": image, "command": ["echo", "hello"]})
    async for event in client.stream(job_id):
        if event["type"] == "log" and not first:
            first = time.perf_counter() - begun
    return first, time.perf_counter() - begun


def docker_run(image: str) -> float:
    """Return the seconds that `docker run` takes for the same."""
    begun = time.perf_counter()
    subprocess.run(["docker", "run", "--rm", "--init", image, "echo", "hello"], capture_output=True, check=True)
    return time.perf_counter() - begun


async def measure(client: CiClient, image: str, runs: int) -> None:
    """Print the medians and ratios of `runs` turns, after one that does not count."""
    firsts, verdicts, engine = [], [], []
    for turn in range(runs + 1):
        first, verdict = await one_job(client, image)
        run = await asyncio.to_thread(docker_run, image)
        if turn:
            firsts.append(first)
            verdicts.append(verdict)
            engine.append(run)
    base = statistics.median(engine)
    print(f"docker run                      {base * 1000:7.1f} ms")
    for name, values in (("submission to first log byte", firsts), ("submission to verdict", verdicts)):
        median = statistics.median(values)
        print(f"{name:30s}  {median * 1000:7.1f} ms   {median / base:5.2f} of docker run")


async def main() -> None:
    """Measure, on a server of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="python:3.12-slim")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings.from_env(db_path=Path(directory, "ci_jobs.db"), runtime="docker", container_prefix="bench-")
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve(create_app(settings), on_ready=ready.set_result, install_signal_handlers=False)
        )
        async with CiClient(await ready) as client:
            await measure(client, arguments.image, arguments.runs)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
