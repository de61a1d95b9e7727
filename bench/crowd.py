"""Many readers of one job, compared with a plain ASGI callable that sends the same bytes."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import processor_seconds, resident_memory
from bench.listeners import LINE, Listener, events_of, has_all, port_of, serving
from ci_client.aio import CiClient
from tests.helpers.installation import ROOT
from tests.helpers.service import finished

STEADY_SECONDS = 1.0
"""Memory that has not changed for this time counts as the memory of idle readers."""
SETTLE_SECONDS = 60.0
"""How long connections may take to be idle, and memory to be steady."""
ALREADY_THERE = 100
"""The number of idle readers before the measured ones, so that one-time costs are not measured."""


@dataclass(frozen=True)
class Crowd:
    """Many readers of one job."""

    readers: int
    events: int
    """The events that each reader received."""
    whole: int
    """The number of readers that received every byte."""
    microseconds: float
    """The server's processor time for each event to each reader."""
    preformatted_microseconds: float
    """The same of a plain ASGI callable that sends preformatted bytes."""
    memory: float
    """Bytes of the server's resident memory for each waiting reader."""
    preformatted_memory: float

    @property
    def ratio(self) -> float:
        return self.microseconds / self.preformatted_microseconds


async def together(port: int, path: str, readers: int) -> list[Listener]:
    """Return `readers` connected listeners."""
    listeners: list[Listener] = []
    while len(listeners) < readers:
        listeners += await asyncio.gather(
            *(Listener.connect(port, path) for _ in range(min(50, readers - len(listeners))))
        )
    return listeners


async def measure_crowd(readers: int, events: int = 200, pause: float = 0.05) -> Crowd:
    """Let one job write lines, one at a time, to many readers; then send the same from a plain callable."""
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
            memory, listeners = await memory_of_each(pid, port, path, readers, expected=b"up")
            used = processor_seconds(pid)
            go.touch()
            await asyncio.gather(*(listener.ended for listener in listeners))
            used = processor_seconds(pid) - used
            job = await finished(client, job_id)
    sent = max(1, len(events_of(bytes(listeners[0].body))) - 2)
    whole = sum(has_all(bytes(listener.body), job["log_bytes"]) for listener in listeners)
    frame = next(line for line in bytes(listeners[0].body).split(b"\n\n") if LINE.encode() in line)
    plain, plain_memory = await measure_preformatted(readers, frame, sent, pause)
    each = readers * sent / 1e6
    return Crowd(readers, sent, whole, used / each, plain / each, memory, plain_memory)


async def memory_of_each(
    pid: int, port: int, path: str, readers: int, *, expected: bytes = b""
) -> tuple[float, list[Listener]]:
    """Connect many readers; return the resident memory of each idle reader, in bytes, and the readers.

    They are idle once they have received `expected` and the memory does not change. None leaves before it is measured,
    because later readers would reuse the memory.
    """
    already_there = await together(port, path, ALREADY_THERE)
    before = await steady_memory(pid, already_there, expected)
    listeners = await together(port, path, readers)
    memory = await steady_memory(pid, listeners, expected) - before
    for listener in already_there:
        listener.close()
    await asyncio.sleep(STEADY_SECONDS)  # Their end is not part of the next measurement.
    return memory / readers, listeners


async def steady_memory(pid: int, listeners: Sequence[Listener], expected: bytes) -> int:
    """Return the resident memory, in bytes, once all of these readers are idle. Raises TimeoutError."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while not all(expected in listener.body for listener in listeners):
            await asyncio.sleep(0.01)
        before, memory = -1, resident_memory(pid)
        while memory != before:
            await asyncio.sleep(STEADY_SECONDS)
            before, memory = memory, resident_memory(pid)
    if any(listener.ended.done() for listener in listeners):
        raise RuntimeError("a reader whose memory is measured has left")
    return memory


async def measure_preformatted(readers: int, frame: bytes, events: int, pause: float) -> tuple[float, float]:
    """Return the processor seconds of a plain callable that sends a frame `events` times, and its memory per reader."""
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
