"""Servers to measure, loads on them, and comparisons of them."""

import json
import os
import re
import socket
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

from bench.figures import MIB, processor_seconds, resident_memory
from ci_common.run_directory.attributes import allow_changes_to_logs
from tests.helpers.service import Service

CONNECTIONS = 64


@dataclass(frozen=True)
class Sample:
    """One round of a measurement."""

    rate: float
    """Requests, or bytes, per second."""
    processor: float
    """Seconds of the server's processor time for each request, or byte."""


@dataclass(frozen=True)
class Comparison:
    """The product and its reference, measured in turns."""

    name: str
    ours: tuple[Sample, ...]
    theirs: tuple[Sample, ...]

    @property
    def ratio(self) -> float:
        """Our rate divided by the reference's: the median of all rounds."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def processor_ratio(self) -> float:
        """Our processor time divided by the reference's, each the least of all rounds."""
        return min(sample.processor for sample in self.ours) / min(sample.processor for sample in self.theirs)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="ci-bench-") as directory:
        yield Path(directory)


@contextmanager
def served(directory: Path, *arguments: str, **settings: str) -> Iterator[Service]:
    """Run `ci serve` below `directory`, or Python with other arguments."""
    service = Service(
        {
            "CI_CONTAINER_PREFIX": f"bench-{os.getpid()}-",
            "CI_DB_PATH": str(directory / "ci_jobs.db"),
            "CI_MIN_FREE_BYTES": "64m",
            "CI_RUNTIME": "process",
            "CI_SERVER_URL": "",
            "PORT": "0",
            "XDG_STATE_HOME": str(directory / "state"),
        }
        | settings
    )
    try:
        yield service.start(*arguments)
    finally:
        service.stop(within=60)
        allow_changes_to_logs(Path(settings.get("CI_DATA_DIR", directory / "ci_jobs.data")))


@contextmanager
def bare(directory: Path) -> Iterator[Service]:
    """Run the bare framework."""
    with served(directory, "-m", "bench.bare", str(directory)) as service:
        yield service


def posting(path: str, document: object) -> bytes:
    """Return a request that posts the document as JSON."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def loaded(service: Service, request: bytes, requests: int, connections: int = CONNECTIONS) -> Sample:
    """Send the request many times, from a separate process."""
    address = urlsplit(service.url)
    command = [sys.executable, "-m", "bench.loadgen", str(address.hostname), str(address.port)]
    used = processor_seconds(service.process.pid)
    done = subprocess.run(
        [*command, str(connections), str(requests)], input=request, stdout=subprocess.PIPE, check=True
    )
    used = processor_seconds(service.process.pid) - used
    seen = json.loads(done.stdout)
    if seen["failed"]:
        raise RuntimeError(f"{seen['failed']} of {requests} requests were refused by {service.url}")
    return Sample(requests / seen["seconds"], used / requests)


def sending(path: str, size: int, *, multipart: bool) -> Iterator[bytes]:
    """Yield a request that posts `size` incompressible bytes, as a form's file or as the body."""
    block = os.urandom(MIB)
    begin, end = b"", b""
    kind = "application/octet-stream"
    if multipart:
        kind = "multipart/form-data; boundary=bench"
        begin = b'--bench\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
        end = b"\r\n--bench--\r\n"
    length = len(begin) + size + len(end)
    yield f"POST {path} HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode() + begin
    for start in range(0, size, MIB):
        yield block[: min(MIB, size - start)]
    yield end


def sent(service: Service, request: Iterator[bytes], size: int) -> tuple[Sample, int]:
    """Send the request; return the rate until the answer began, and the most memory during it."""
    pid, address, memory = service.process.pid, urlsplit(service.url), 0
    used, begun = processor_seconds(pid), time.perf_counter()
    with socket.create_connection((str(address.hostname), address.port or 80)) as connection:
        for number, part in enumerate(request):
            connection.sendall(part)
            if number % 16 == 0:
                memory = max(memory, resident_memory(pid))
        if not connection.recv(64 * 1024):
            raise ConnectionError("the server has closed the connection without an answer")
    seconds = time.perf_counter() - begun
    return Sample(size / seconds, (processor_seconds(pid) - used) / size), max(memory, resident_memory(pid))


def switches(pid: int) -> int:
    """Return the number of voluntary context switches of the process."""
    told = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(number) for text in told for number in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M))
