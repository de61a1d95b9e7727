"""What it costs to serve logs: rates against `docker logs`, latency, and a thousand readers against preformatted bytes.

    python -m bench.serving [--image IMAGE] [--readers N] [--log-mib N] [--without-docker]

Starts servers of its own on temporary paths. Every ratio is between two things measured in the same run. Ends with 1
where a reader did not get every byte.
"""

import argparse
import asyncio
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import MIB, processor_seconds, resident_memory, table
from bench.listeners import Listener, log_of
from ci_client.aio import CiClient
from ci_common.descriptors import allow_many_descriptors
from tests.helpers.following import finished
from tests.helpers.installation import ROOT
from tests.helpers.service import Service

LINE = "a line of a log as jobs write them, with a number of words and an end"
WRITER = "yes '{line}' | head -c {size}"
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Rate:
    """Megabytes (10^6) of log in a second."""

    ours: float
    engine: float
    """`docker logs` of the same bytes."""
    whole: bool
    """Whether every byte came."""

    @property
    def ratio(self) -> float:
        return self.ours / self.engine


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the write in the container to the arrival at the reader."""

    p50: float
    p99: float
    samples: int


@dataclass(frozen=True)
class Crowd:
    """Many readers of one job."""

    readers: int
    events: int
    """To each of them."""
    whole: int
    """How many of them got every byte."""
    microseconds: float
    """Of the server's processor time for each event to each reader."""
    preformatted_microseconds: float
    """The same of a plain ASGI callable that sends preformatted bytes."""
    memory: float
    """Bytes of the server's resident memory for each reader that waits."""
    preformatted_memory: float

    @property
    def ratio(self) -> float:
        return self.microseconds / self.preformatted_microseconds


@contextmanager
def serving(**settings: str) -> Iterator[Service]:
    """Run server and controller as two processes, so that the server's figures are its own."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            "CI_CONTAINER_PREFIX": f"serving-{os.getpid()}-",
            "CI_DB_PATH": f"{directory}/ci_jobs.db",
            "CI_LOG_LEVEL": "warning",
            "CI_SERVER_URL": "",
            "PORT": "0",
            "XDG_STATE_HOME": f"{directory}/state",
        } | settings
        service, controller = Service(environment | {"CI_CONTROLLER": "off"}), Service(environment, "controller")
        try:
            controller.launch()
            yield service.start()
        finally:
            service.stop(within=30)
            controller.stop(within=30)


def port_of(service: Service) -> int:
    """Return the port that the service listens at."""
    return urlsplit(service.url).port or 80


def writing(size: int) -> tuple[str, int]:
    """Return a shell command that writes about so many bytes in lines, and how many they are."""
    size -= size % (len(LINE) + 1)
    return WRITER.format(line=LINE, size=size), size


@contextmanager
def container(image: str, command: str) -> Iterator[str]:
    """Run a container in the background and yield its name."""
    name = f"serving-{os.getpid()}-logs"
    subprocess.run(
        ["docker", "run", "--detach", "--network", "none", "--name", name, image, "sh", "-c", command],
        check=True,
        capture_output=True,
    )
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def drained(*command: str) -> tuple[int, float]:
    """Run a command; return how many bytes it wrote, and the seconds from the first to the last of them."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        size, begun, ended = 0, 0.0, 0.0
        while chunk := os.read(process.stdout.fileno(), MIB):
            ended = time.perf_counter()
            begun = begun or ended
            size += len(chunk)
    return size, ended - begun


def stream_seconds(listener: Listener) -> float:
    """Return the seconds from the first byte of the log to the last, without what comes before and behind."""
    first, last = listener.body.index(b'"type":"log"'), listener.body.rindex(b'"type":"log"')
    begun = next(when for when, size in listener.arrivals if size > first)
    return next(when for when, size in listener.arrivals if size > last) - begun


async def measure_rates(image: str, size: int, engine_size: int) -> tuple[Rate, Rate]:
    """Return the rates of the stream of a job that writes as fast as it can, and of its whole log afterwards."""
    command, log_bytes = writing(engine_size)
    with container(image, f"sleep 1; {command}") as name:
        _, follow_seconds = await asyncio.to_thread(drained, "docker", "logs", "--follow", name)
        shown, show_seconds = await asyncio.to_thread(drained, "docker", "logs", name)
    assert shown == log_bytes, "docker logs is not whole"
    follow_rate, show_rate = log_bytes / follow_seconds / 1e6, log_bytes / show_seconds / 1e6
    command, log_bytes = writing(size)
    with serving(CI_RUNTIME="docker") as service:
        async with CiClient(service.url) as client:
            job_id = await client.create_job({"image": image, "command": f"sleep 1; {command}"})
            listener = await Listener.connect(port_of(service), f"/jobs/{job_id}/stream?from_beginning=true")
            await listener.ended
            stream = Rate(log_bytes / stream_seconds(listener) / 1e6, follow_rate, has_all(listener, log_bytes))
            await finished(client, job_id)
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            download = await Listener.connect(port_of(service), f"/jobs/{job_id}/log")
            await download.ended
            took.append(time.perf_counter() - begun)
        whole = len(download.body) == log_bytes
        return stream, Rate(log_bytes / statistics.median(took) / 1e6, show_rate, whole)


def has_all(listener: Listener, log_bytes: int) -> bool:
    """Tell whether a reader has the verdict and, by its length and digest, the whole log."""
    events = listener.events()
    log, end = log_of(events), events[-1]
    return len(log) == log_bytes == end["log_bytes"] and hashlib.sha256(log).hexdigest() == end["log_sha256"]


async def measure_latency(image: str, samples: int = 300, *, runtime: str = "docker") -> Latency:
    """Return how long lines take that a container writes one by one, each a while after the one before."""
    program = "import sys,time\nfor n in range({}): time.sleep(0.02); print('@', time.time(), '@', flush=True)"
    command = ["python3", "-c", program.format(samples)]
    with serving(CI_RUNTIME=runtime) as service:
        async with CiClient(service.url) as client:
            job_id = await client.create_job({"image": image, "command": command})
        listener = await Listener.connect(port_of(service), f"/jobs/{job_id}/stream?from_beginning=true")
        await listener.ended
    taken, begin = [], 0
    for when, end in listener.arrivals:
        stamps = re.findall(rb"@ ([0-9.]+) @", bytes(listener.body[begin:end]))
        taken += [(when - float(stamp)) * 1000 for stamp in stamps]
        begin = end
    taken.sort()
    return Latency(statistics.median(taken), taken[int(len(taken) * 0.99)], len(taken))


async def together(port: int, path: str, readers: int) -> list[Listener]:
    """Return so many listeners, all of them connected."""
    listeners: list[Listener] = []
    while len(listeners) < readers:
        listeners += await asyncio.gather(*(Listener.connect(port, path) for _ in range(min(50, readers))))
    return listeners


async def measure_crowd(readers: int, events: int = 200, pause: float = 0.05) -> Crowd:
    """Have one job write lines, one at a time, to so many readers; then send the same from a plain callable."""
    with tempfile.TemporaryDirectory() as directory, serving(CI_RUNTIME="process") as service:
        go = Path(directory, "go")
        lines = f"i=0; while [ $i -lt {events} ]; do echo '{LINE}'; sleep {pause}; i=$((i+1)); done"
        async with CiClient(service.url) as client:
            job_id = await client.create_job(
                {"image": "none", "command": f"echo up; until [ -e {go} ]; do sleep 0.05; done; {lines}"}
            )
            port, path, pid = port_of(service), f"/jobs/{job_id}/stream?from_beginning=true", service.process.pid
            first = await Listener.connect(port, path)
            while b"up" not in first.body:
                await asyncio.sleep(0.01)
            memory, listeners = await memory_of_each(pid, port, path, readers)
            used = processor_seconds(pid)
            go.touch()
            await asyncio.gather(*(listener.ended for listener in listeners))
            used = processor_seconds(pid) - used
            job = await finished(client, job_id)
    sent = max(1, len(listeners[0].events()) - 2)
    whole = sum(has_all(listener, job["log_bytes"]) for listener in listeners)
    frame = next(line for line in bytes(listeners[0].body).split(b"\n\n") if LINE.encode() in line)
    plain, plain_memory = await measure_preformatted(readers, frame, sent, pause)
    each = readers * sent / 1e6
    return Crowd(readers, sent, whole, used / each, plain / each, memory, plain_memory)


async def memory_of_each(pid: int, port: int, path: str, readers: int) -> tuple[float, list[Listener]]:
    """Connect so many readers; return the bytes of resident memory that each takes, and the readers."""
    for listener in await together(port, path, 100):  # So that what is only needed once is there.
        listener.close()
    await asyncio.sleep(SETTLE_SECONDS)
    before = resident_memory(pid)
    listeners = await together(port, path, readers)
    await asyncio.sleep(SETTLE_SECONDS)
    return (resident_memory(pid) - before) / readers, listeners


async def measure_preformatted(readers: int, frame: bytes, events: int, pause: float) -> tuple[float, float]:
    """Return the processor seconds of a plain callable that sends a frame so often, and its memory for each reader."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.preformatted"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    memory, listeners = await memory_of_each(process.pid, port, "/", readers)
    used = processor_seconds(process.pid)
    for _ in range(events):
        process.stdin.write(frame.replace(b"\n", b" ") + b"\n")
        await asyncio.sleep(pause)
    used = processor_seconds(process.pid) - used
    process.stdin.write(b"end\n")
    await asyncio.gather(*(listener.ended for listener in listeners))
    process.stdin.close()
    await process.wait()
    return used, memory


async def measure(options: argparse.Namespace) -> tuple[str, bool]:
    """Return the table, in Markdown, and whether every byte has come."""
    rows: list[tuple[str, str]] = []
    whole = True
    if not options.without_docker:
        rates = await measure_rates(options.image, options.log_mib * MIB, options.engine_mib * MIB)
        for rate, ours, engine in zip(rates, ("stream", "GET /log"), ("docker logs -f", "docker logs"), strict=True):
            rows.append((ours, f"{rate.ours:.0f} MB/s, {engine} {rate.engine:.1f}: {rate.ratio:.0f} times"))
            whole = whole and rate.whole
        latency = await measure_latency(options.image)
        rows.append(("write to arrival", f"p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms of {latency.samples}"))
    if options.readers:
        crowd = await measure_crowd(options.readers)
        whole = whole and crowd.whole == crowd.readers
        rows += [
            (f"readers that got all of {crowd.events} events", f"{crowd.whole} of {crowd.readers}"),
            (
                "processor time for each event to each",
                f"{crowd.microseconds:.1f} us, preformatted {crowd.preformatted_microseconds:.1f}: {crowd.ratio:.2f}",
            ),
            (
                "memory for each that waits",
                f"{crowd.memory / 1024:.1f} KiB, preformatted {crowd.preformatted_memory / 1024:.1f}",
            ),
        ]
    return table(("serving", "measured"), rows), whole


def main() -> int:
    """Measure, on servers of its own; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default="python:3.12-slim")
    parser.add_argument("--readers", type=int, default=1000, help="0 leaves them out")
    parser.add_argument("--log-mib", type=int, default=64, help="size of the log of a job")
    parser.add_argument("--engine-mib", type=int, default=16, help="size of the log of a container")
    parser.add_argument("--without-docker", action="store_true", help="leave out what needs an engine")
    options = parser.parse_args()
    allow_many_descriptors()
    text, whole = asyncio.run(measure(options))
    print(text)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
