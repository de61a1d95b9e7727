"""What storage and HTTP carry: submissions, uploads, a million finished jobs, and what is used while nothing happens.

    python -m bench.store [--rounds N] [--requests N] [--upload-bytes N] [--rows N] [--idle SECONDS]

Every figure is a ratio to something measured beside it in the same run, in turns: on a machine that others use, too,
only that holds. Prints a table in Markdown; 0 leaves a part out.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import processor_seconds
from tests.helpers.service import Service

CONNECTIONS = 64
SUBMISSION = {"type": "echo", "payload": {"question": "how long does this take?"}}


@dataclass(frozen=True)
class Sample:
    """One round of something."""

    rate: float
    """Requests, or bytes, per second."""
    processor: float
    """Seconds of the server's processor time for each request, or byte."""


@dataclass(frozen=True)
class Comparison:
    """The product beside what it is measured against, in turns."""

    name: str
    ours: tuple[Sample, ...]
    theirs: tuple[Sample, ...]

    @property
    def ratio(self) -> float:
        """Our rate as a part of theirs: the median of the rounds, in each of which both had their turn."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def processor_ratio(self) -> float:
        """Our processor time as a multiple of theirs, each the least of its rounds."""
        return min(sample.processor for sample in self.ours) / min(sample.processor for sample in self.theirs)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a directory that is gone afterwards."""
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


@contextmanager
def bare(directory: Path) -> Iterator[Service]:
    """Run the framework alone."""
    with served(directory, "-m", "bench.bare", str(directory)) as service:
        yield service


def posting(path: str, document: object) -> bytes:
    """Return a request that posts the document as JSON."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def loaded(service: Service, request: bytes, requests: int, connections: int = CONNECTIONS) -> Sample:
    """Send the request so often, from a process of its own."""
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


def post_jobs(*, rounds: int = 7, requests: int = 4000, **settings: str) -> Comparison:
    """Submit jobs by `POST /jobs`, each durable before its answer, against a bare endpoint that takes JSON.

    The controller is left out unless `settings` say otherwise: what it does with the jobs is another figure.
    """
    wide = {"CI_CONTROLLER": "off", "MAX_QUEUED": "1000000000"} | settings
    with scratch() as directory, bare(directory) as framework, served(directory, **wide) as service:
        ours, theirs = [], []
        for request, where in ((posting("/jobs", SUBMISSION), service), (posting("/json", SUBMISSION), framework)):
            loaded(where, request, CONNECTIONS)  # So that nothing is done for the first time.
        for _ in range(rounds):
            theirs.append(loaded(framework, posting("/json", SUBMISSION), requests))
            ours.append(loaded(service, posting("/jobs", SUBMISSION), requests))
        return Comparison("POST /jobs, requests/s", tuple(ours), tuple(theirs))
