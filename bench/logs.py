"""How fast logs are served, against `docker logs` of the same bytes, and how soon a line arrives."""

import asyncio
import os
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.figures import MIB
from bench.listeners import LINE, Listener, has_all, port_of, serving
from ci_client.aio import CiClient
from tests.helpers.service import finished

WRITER = "yes '{line}' | head -c {size}"
LOG_EVENT = b'"type":"log"'


@dataclass(frozen=True)
class Rate:
    """Megabytes (10^6) of log in a second."""

    ours: float
    engine: float
    """`docker logs` of the same bytes."""
    whole: bool
    """Whether every byte arrived."""

    @property
    def ratio(self) -> float:
        return self.ours / self.engine


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the write in the container to the arrival at the reader."""

    p50: float
    p99: float
    samples: int


def writing(size: int) -> tuple[str, int]:
    """Return a shell command that writes about `size` bytes in lines, and their exact number."""
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
    """Run a command; return the number of bytes that it wrote, and the seconds from the first to the last."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        size, begun, ended = 0, 0.0, 0.0
        while chunk := os.read(process.stdout.fileno(), MIB):
            ended = time.perf_counter()
            begun = begun or ended
            size += len(chunk)
    return size, ended - begun


@dataclass(frozen=True)
class Received:
    """A body, and how much of it had arrived by time."""

    body: bytes
    arrivals: list[tuple[float, int]]

    @classmethod
    def of(cls, port: int, path: str) -> "Received":
        """Read to the end, at the lowest possible cost."""
        chunks, arrivals, size = [], [], 0
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            while chunk := connection.recv(MIB):
                chunks.append(chunk)
                size += len(chunk)
                arrivals.append((time.perf_counter(), size))
        head, _, body = b"".join(chunks).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return cls(body, [(when, size - len(head) - 4) for when, size in arrivals])

    def seconds(self, first: int, last: int) -> float:
        """Return the seconds from the arrival of one byte to that of another."""
        begun = next(when for when, size in self.arrivals if size > first)
        return next(when for when, size in self.arrivals if size > last) - begun


async def measure_rates(image: str, size: int, engine_size: int) -> tuple[Rate, Rate]:
    """Return the rates of the stream of a job that writes as fast as it can, and of its log afterwards."""
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
            path = f"/jobs/{job_id}/stream?from_beginning=true"
            received = await asyncio.to_thread(Received.of, port_of(service), path)
            seconds = received.seconds(received.body.index(LOG_EVENT), received.body.rindex(LOG_EVENT))
            stream = Rate(log_bytes / seconds / 1e6, follow_rate, has_all(received.body, log_bytes))
            await finished(client, job_id)
        took, whole = [], True
        for _ in range(5):
            download = await asyncio.to_thread(Received.of, port_of(service), f"/jobs/{job_id}/log")
            whole = whole and len(download.body) == log_bytes
            took.append(download.seconds(0, log_bytes - 1))
        return stream, Rate(log_bytes / statistics.median(took) / 1e6, show_rate, whole)


async def measure_latency(image: str, samples: int = 300, *, runtime: str = "docker") -> Latency:
    """Return the latency of lines that a container writes one by one, with a pause after each.

    There is no pool, for which the engine would create containers at the same time.
    """
    line = "sys.stdout.write(f'@ {time.time()} @\\n'); sys.stdout.flush()"  # One write, whatever buffers.
    program = f"import sys,time\nfor n in range({samples}): time.sleep(0.02); {line}"
    command = ["python3", "-c", program]
    with serving(CI_RUNTIME=runtime, CI_POOL_SIZE="0") as service:
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
