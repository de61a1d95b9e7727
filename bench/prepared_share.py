"""`python -m bench.prepared_share`: how many of 50 jobs start warm from a prepared environment, after an edit each.

One line of a project is edited again and again, and its requirements stay. The first job prepares the environment and
is not counted. Prints the share and why the others did not; ends with 1 where it is below the target of 98 %. Run it
by `python -m tests.engine` where no engine answers.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.server import environment_waits, serving
from ci_client.aio import CiClient
from tests.engine import images
from tests.engine.api import require_engine
from tests.helpers.service import finished

TARGET = 0.98
_SETUP = {"run": "mkdir /site && cat requirements.txt >/site/installed", "inputs": ["requirements.txt"]}
_COMMAND = "cat /site/installed code.txt >/dev/null"


async def measure(url: str, image: str, edits: int, pause: float) -> tuple[Counter[str], list[float]]:
    """Return how the jobs started, and how many seconds each took from its submission to its verdict."""
    ways, took = Counter[str](), list[float]()
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory)
        (project / "requirements.txt").write_text("numpy\npandas\n")
        async with CiClient(url) as client:
            for number in range(edits + 1):
                (project / "code.txt").write_text(f"edit {number}\n")
                began = time.monotonic()
                spec = {"image": image, "command": _COMMAND, "setup": _SETUP}
                job = await finished(client, await client.submit(project, spec=spec))
                if number == 0:
                    await environment_waits(url)
                    continue
                took.append(time.monotonic() - began)
                ways[_way(job)] += 1
                await asyncio.sleep(pause)
            for environment in await client.environments():
                await client.remove_environment(environment["key"])
                command = ["docker", "image", "rm", "--force", environment["reference"]]
                await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    return ways, took


def _way(job: dict[str, Any]) -> str:
    hit = (job["environment"] or {}).get("hit")
    return f"{'prepared' if hit else 'not prepared'}, {job['start_way']}, {job['conclusion']}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.prepared_share")
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between a verdict and the next edit")
    given = parser.parse_args()
    image = images.busybox_image(require_engine())
    with serving("bench-share", CI_RUNTIME="docker") as service:
        ways, took = asyncio.run(measure(service.url, image, given.edits, given.pause))
    share = ways["prepared, warm, succeeded"] / given.edits
    for way, number in ways.most_common():
        print(f"{number:4} {way}")
    print(f"{share:.0%} warm and prepared, {given.pause:g} s after the verdict before; median {_median(took)}")
    return 0 if share >= TARGET else 1


def _median(took: list[float]) -> str:
    return f"{statistics.median(took) * 1000:.0f} ms from submission to verdict"


if __name__ == "__main__":
    sys.exit(main())
