"""Detects growth: thousands of jobs on one server, and the resources that it uses in pauses without work.

    python -m bench.endurance [--jobs N] [--runtime process|docker] [--mix echo=55,sleep=15,command=20,upload=10]
                              [--image IMAGE] [--write PAGE]

Starts its own server on temporary paths. Jobs run in batches. After each batch, once everything is cleaned up, it takes
a sample. Ends with 1 if a figure of the last samples is above those of the first by more than its bound.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.figures import MIB, descriptors, machine, resident_memory, table, threads, write_section
from bench.server import Pool
from ci_client.aio import CiClient
from ci_client.errors import ServerError
from ci_common.run_directory.layout import KEPT, DataDirectory
from tests.helpers.service import Service, containers, zipped
from tests.helpers.waiting import eventually

AT_ONCE = 16
SETTLED_SECONDS = 120.0
PREFIX = f"endurance-{os.getpid()}-"
BOUNDS = {"memory_mib": 12.0, "descriptors": 8, "threads": 4, "tasks": 4, "files": 0, "directories": 0, "containers": 0}
"""How much a figure may be higher in the last third than in the first third, without the first sample."""


@dataclass(frozen=True)
class Sample:
    """The resources of the idle server."""

    jobs: int
    memory_mib: float
    descriptors: int
    threads: int
    tasks: int
    files: int
    """Temporary files: unfinished uploads, and files in the temporary directory."""
    directories: int
    """Run directories that hold more than a log."""
    containers: int
    """Containers that are not warm. The pool limits the number of warm ones."""


class Endurance:
    """One server under load."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self._options = options
        self._temporary = directory / "tmp"
        self._temporary.mkdir()
        self._tasks = directory / "tasks"
        self._chance = random.Random(1)
        environment = {
            "BENCH_TASKS": str(self._tasks),
            "CI_CONTAINER_PREFIX": PREFIX,
            "CI_DB_PATH": str(directory / "ci_jobs.db"),
            "CI_DEFAULT_IMAGE": options.image,
            "CI_LOG_LEVEL": "warning",
            "CI_RUNTIME": options.runtime,
            "CI_SERVER_URL": "",
            "MAX_CONCURRENCY": "8",
            "PORT": "0",
            "TMPDIR": str(self._temporary),
            "XDG_STATE_HOME": str(directory / "state"),
        }
        self._data = DataDirectory(directory / "ci_jobs.data")
        self._service = Service(environment)
        self.project = directory / "project.zip"
        self.project.write_bytes(zipped({"ci.yaml": "steps: [{run: cat data | wc -c}]", "data": "x" * 50_000}))

    async def run(self) -> list[Sample]:
        """Do all the work; return the samples."""
        self._service.start("-m", "bench.observed", "serve")
        self._pool = Pool(self._service.url)
        samples: list[Sample] = []
        try:
            for batch in range(self._options.samples):
                count = self._options.jobs * (batch + 1) // self._options.samples
                await self._work(count - self._options.jobs * batch // self._options.samples)
                samples.append(await self._sample(count))
                print("  ".join(f"{name} {value:g}" for name, value in asdict(samples[-1]).items()), flush=True)
        finally:
            if self._service.stop(within=30):
                print("the server ended with an error", file=sys.stderr)
        return samples

    async def _work(self, count: int) -> None:
        places = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with places, CiClient(self._service.url) as client:
                await self._one_job(client)

        await asyncio.gather(*(one() for _ in range(count)))

    async def _one_job(self, client: CiClient) -> None:
        """Submit a job and follow it; sometimes cancel it, read it twice, stop reading, or submit an invalid one."""
        kinds = self._options.mix
        kind = self._chance.choices(list(kinds), list(kinds.values()))[0]
        job_id = await self._submit(client, kind)
        whim = self._chance.random()
        if whim < 0.05:
            with contextlib.suppress(ServerError):
                await client.cancel_job(job_id)
        elif whim < 0.1:
            with contextlib.suppress(ServerError):
                await client.create_job({"type": "nonsense"})
        elif whim < 0.15:
            async for _ in client.stream(job_id):
                break  # The reader stops.
        events = [event async for event in client.stream(job_id)]
        end = events[-1]
        assert end["conclusion"] == "succeeded" or (end["conclusion"] == "cancelled" and whim < 0.05), end

    async def _submit(self, client: CiClient, kind: str) -> str:
        requests: dict[str, dict[str, Any]] = {
            "echo": {"type": "echo", "payload": {"text": "x" * 500}},
            "sleep": {"type": "sleep", "payload": {"ms": 50}},
            "command": {"image": self._options.image, "command": "for n in 1 2 3; do echo line $n; done"},
        }
        if kind == "upload":
            return await client.submit(self.project)
        return await client.create_job(requests[kind])

    async def _sample(self, jobs: int) -> Sample:
        """Return the resources of the server once everything is cleaned up."""

        async def all_is_cleared() -> bool:
            return await self._pool.filled(0) and await self._left_behind() == (0, 0)

        await eventually(all_is_cleared, "everything is cleaned up", timeout=SETTLED_SECONDS)
        self._tasks.unlink(missing_ok=True)
        self._service.process.send_signal(signal.SIGUSR2)
        await eventually(self._tasks.exists, "the number of tasks")
        pid = self._service.process.pid
        files = [path for place in (self._temporary, self._data.incoming) for path in place.rglob("*")]
        directories, left = await self._left_behind()
        return Sample(
            jobs,
            round(resident_memory(pid) / MIB, 1),
            descriptors(pid),
            threads(pid),
            int(self._tasks.read_text()),
            len(files),
            directories,
            left,
        )

    async def _left_behind(self) -> tuple[int, int]:
        """Return how many run directories have more than a log and records, and how many containers are not warm."""
        spare = {path.parent for path in self._data.jobs.glob("*/*/*") if path.name not in KEPT}
        spare |= set(self._data.processes.glob("*/*")) if self._data.processes.is_dir() else set()
        if self._options.runtime != "docker":
            return len(spare), 0
        return len(spare), len(containers(PREFIX)) - await self._pool.waiting()


def growths(samples: list[Sample]) -> dict[str, float]:
    """Return how much each figure is higher in the last third of the samples than in the first third.

    The first sample does not count. The minimum of the last is compared with the maximum of the first, so that a short
    peak has no effect.
    """
    third = max(1, len(samples) // 3)
    first, last = samples[1 : third + 1], samples[-third:]
    names = [field.name for field in fields(Sample) if field.name != "jobs"]
    return {name: min(getattr(s, name) for s in last) - max(getattr(s, name) for s in first) for name in names}


def mix_of(text: str) -> dict[str, int]:
    """Return kinds of jobs and their weights from `echo=3,upload=1`."""
    kinds = dict(part.split("=") for part in text.split(","))
    return {name: int(weight) for name, weight in kinds.items()}


def report(options: argparse.Namespace, samples: list[Sample], seconds: float) -> str:
    """Return the report in Markdown."""
    middle = samples[len(samples) // 2]
    shown = [samples[0], samples[1], middle, samples[-1]]
    head = ["jobs", "memory, MiB", "open files", "threads", "tasks", "temporary files", "run directories", "containers"]
    mix = ", ".join(f"{weight} {name}" for name, weight in options.mix.items())
    about = (
        f"{options.jobs} jobs in {seconds:.0f} s, runtime {options.runtime}, of 100: {mix}. Measured on {machine()}."
    )
    return f"{about}\n\n{table(head, [list(asdict(sample).values()) for sample in shown])}"


def main() -> int:
    """Measure, on a server of its own; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--runtime", choices=["process", "docker"], default="process")
    parser.add_argument("--image", default="python:3.12-slim")
    parser.add_argument("--mix", type=mix_of, default="echo=55,sleep=15,command=20,upload=10")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        samples = asyncio.run(Endurance(Path(directory), options).run())
    text = report(options, samples, time.monotonic() - begun)
    print(f"\n{text}\n")
    if options.write is not None:
        write_section(options.write, f"endurance {options.runtime}", text)
    grown = {name: growth for name, growth in growths(samples).items() if growth > BOUNDS[name]}
    for name, growth in grown.items():
        print(f"GROWS: {name} by {growth:g}, more than {BOUNDS[name]:g}", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
