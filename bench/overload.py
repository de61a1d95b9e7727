"""How much the service handles at a time: a long queue, many readers of one job, many containers.

    python -m bench.overload [--queued N] [--readers N] [--log-bytes N] [--containers N] [--image IMAGE] [--write PAGE]

Starts servers of its own on temporary paths; 0 leaves a part out. Ends with 1 if a reader did not get every byte, or a
container did not end as expected.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import MIB, descriptors, machine, processor_seconds, resident_memory, table, write_section
from bench.server import serving
from ci_client.aio import CiClient
from ci_common.system.process_tuning import allow_many_descriptors
from tests.helpers.service import finished

AT_ONCE = 64
IDLE_SECONDS = 20.0
Figure = tuple[str, str]


async def timed(call: Callable[[], Awaitable[object]], times: int = 1) -> list[float]:
    """Return the duration of each of `times` consecutive calls, in milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - begun) * 1000)
    return taken


async def together(count: int, call: Callable[[int], Awaitable[object]]) -> list[float]:
    """Return the duration of each of `count` calls, AT_ONCE at a time, in milliseconds."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> float:
        async with places:
            return (await timed(lambda: call(number)))[0]

    return await asyncio.gather(*(one(number) for number in range(count)))


def spread(milliseconds: list[float]) -> str:
    """Return median and 99th percentile, for people."""
    ordered = sorted(milliseconds)
    return f"{statistics.median(ordered):.1f} ms, 99 of 100 within {ordered[int(len(ordered) * 0.99)]:.1f} ms"


async def measure_queue(jobs: int) -> list[Figure]:
    """Measure the cost of a queue of that length, and the speed of the service with it."""
    with serving("overload", CI_RUNTIME="process", MAX_QUEUED=str(2 * jobs), MAX_CONCURRENCY="2") as service:
        pid = service.process.pid
        async with CiClient(service.url) as client:
            blocking = [await client.create_job({"type": "sleep", "payload": {"ms": 86_400_000}}) for _ in range(2)]
            begun, used = time.perf_counter(), processor_seconds(pid)
            submitting = await together(jobs, lambda n: client.create_job({"type": "echo", "payload": {"n": n}}))
            seconds, used = time.perf_counter() - begun, processor_seconds(pid) - used
            figures = [
                (f"submitting {jobs} jobs, {AT_ONCE} at a time", f"{jobs / seconds:.0f}/s; each {spread(submitting)}"),
                ("processor time of server and controller for each", f"{used / jobs * 1000:.1f} ms"),
                ("memory of server and controller", f"{resident_memory(pid) / MIB:.0f} MiB"),
                ("listing 100 jobs", spread(await timed(lambda: client.list_jobs(limit=100), 100))),
                (
                    "listing 100 queued jobs",
                    spread(await timed(lambda: client.list_jobs(limit=100, status="queued"), 100)),
                ),
            ]
            await asyncio.sleep(2)
            used = processor_seconds(pid)
            await asyncio.sleep(IDLE_SECONDS)
            share = (processor_seconds(pid) - used) / IDLE_SECONDS
            figures.append(("processor while all of them wait", f"{share * 100:.1f} % of one"))

            async def first_in_line() -> None:
                await finished(client, await client.create_job({"type": "echo", "priority": 9}))

            await client.cancel_job(blocking[1])
            figures.append(("from submission to end, for one that goes first", spread(await timed(first_in_line, 20))))
        return figures


class Reader:
    """One raw connection to a job's stream, which checks what it gets."""

    def __init__(self, url: str, job_id: str) -> None:
        self._address = urlsplit(url)
        self._job_id = job_id
        self.digest = hashlib.sha256()
        self.size = 0
        self.end: dict[str, object] = {}

    async def read(self, connected: asyncio.Semaphore) -> None:
        """Read to the end; `connected` is released once the stream has begun."""
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port, limit=MIB)
        writer.write(b"GET /jobs/%s/stream?from_beginning=true HTTP/1.0\r\n\r\n" % self._job_id.encode())
        await reader.readuntil(b"\r\n\r\n")
        connected.release()
        while line := await reader.readline():
            if line.startswith(b"data: "):
                self._take(json.loads(line[6:]))
        writer.close()

    def _take(self, event: dict[str, str]) -> None:
        if event["type"] == "log":
            data = base64.b64decode(event["base64"]) if "base64" in event else event["data"].encode()
            self.digest.update(data)
            self.size += len(data)
        elif event["type"] == "complete":
            self.end = dict(event)

    @property
    def is_whole(self) -> bool:
        """Whether all bytes and the verdict were received."""
        return (self.end.get("log_bytes"), self.end.get("log_sha256")) == (self.size, self.digest.hexdigest())


async def measure_readers(readers: int, log_bytes: int) -> tuple[list[Figure], bool]:
    """Let many readers read one running job; return the figures, and whether each reader got everything."""
    with serving("overload", CI_RUNTIME="process") as service, tempfile.TemporaryDirectory() as directory:
        pid, go = service.process.pid, Path(directory, "go")
        line = "a line of a log that a thousand people read at once"
        lines = log_bytes // (len(line) + 1)
        command = f"until [ -e {go} ]; do sleep 0.05; done; yes '{line}' | head -n {lines}"
        async with CiClient(service.url) as client:
            job_id = await client.create_job({"image": "none", "command": command})
            before = resident_memory(pid)
            all_readers = [Reader(service.url, job_id) for _ in range(readers)]
            connected = asyncio.Semaphore(0)
            reading = [asyncio.create_task(reader.read(connected)) for reader in all_readers]
            for _ in all_readers:
                await connected.acquire()
            waiting, files = resident_memory(pid), descriptors(pid)
            used, begun = processor_seconds(pid), time.perf_counter()
            go.touch()
            await asyncio.gather(*reading)
            seconds, used = time.perf_counter() - begun, processor_seconds(pid) - used
            whole = sum(reader.is_whole for reader in all_readers)
        size = all_readers[0].size
        return [
            (f"readers that got all {size} bytes and the verdict", f"{whole} of {readers}"),
            ("until the last of them had", f"{seconds:.1f} s, {readers * size / MIB / seconds:.0f} MiB/s"),
            ("processor time of server and controller", f"{used:.1f} s"),
            ("memory for each reader that waits", f"{(waiting - before) / readers / 1024:.0f} KiB"),
            ("memory at the end, beside that of the waiting", f"{(resident_memory(pid) - waiting) / MIB:.0f} MiB"),
            ("open files", str(files)),
        ], whole == readers


async def measure_containers(containers: int, image: str) -> tuple[list[Figure], bool]:
    """Run many containers at a time; return the figures, and whether all ended as expected."""
    with serving("overload", CI_RUNTIME="docker", MAX_CONCURRENCY=str(containers)) as service:
        pid = service.process.pid
        async with CiClient(service.url) as client:
            # Each runs long enough for all others to start.
            request = {"image": image, "command": f"echo up; sleep {max(30, containers)}; echo down; exit 3"}
            begun = time.perf_counter()
            ids = [await client.create_job(request) for _ in range(containers)]
            most = 0
            while most < containers and time.perf_counter() - begun < max(30, containers):
                most = max(most, len(await client.list_jobs(limit=containers, status="running")))
                await asyncio.sleep(0.2)
            seconds = time.perf_counter() - begun
            memory, files = resident_memory(pid) / MIB, descriptors(pid)
            ends = await asyncio.gather(*(finished(client, job_id, within=600) for job_id in ids))
            right = sum(job["exit_code"] == 3 and job["log_bytes"] == len("up\ndown\n") for job in ends)
        return [
            ("containers that ran at once", f"{most} of {containers}, after {seconds:.1f} s"),
            ("ended with their own exit code and a whole log", f"{right} of {containers}"),
            ("memory of server and controller", f"{memory:.0f} MiB"),
            ("open files", str(files)),
        ], right == containers


async def measure(options: argparse.Namespace) -> tuple[str, bool]:
    """Return the report in Markdown, and whether everything was as expected."""
    parts: list[tuple[str, list[Figure]]] = []
    right = True
    if options.queued:
        parts.append((f"{options.queued} queued jobs", await measure_queue(options.queued)))
    if options.readers:
        figures, whole = await measure_readers(options.readers, options.log_bytes)
        parts.append((f"{options.readers} readers of one job", figures))
        right = right and whole
    if options.containers:
        figures, whole = await measure_containers(options.containers, options.image)
        parts.append((f"{options.containers} containers at once", figures))
        right = right and whole
    tables = [table((name, "measured"), figures) for name, figures in parts]
    return f"Measured on {machine()}.\n\n" + "\n\n".join(tables), right


def main() -> int:
    """Measure, on servers of its own; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--log-bytes", type=int, default=512 * 1024)
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--image", default="python:3.12-slim")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    options = parser.parse_args()
    allow_many_descriptors()
    text, right = asyncio.run(measure(options))
    print(text)
    if options.write is not None:
        write_section(options.write, "overload", text)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
