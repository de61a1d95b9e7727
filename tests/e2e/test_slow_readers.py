"""Readers that are slow, or do not read at all: they lose nothing, cost nothing and hold up no other reader."""

import asyncio
import base64
import hashlib
import json
import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ci_client.aio import CiClient
from tests.e2e.conftest import Starter
from tests.helpers.service import Service, finished

LINE = "a line of a log that is longer than its readers are quick"
LINES = 1_750_000
SIZE = LINES * (len(LINE) + 1)
MIB = 1024**2
MOST_GROWTH = 32 * MIB
"""What a hundred megabytes for each of several readers would show in."""


@pytest.fixture
def runtime() -> str:
    """What runs the job is all the same to its readers."""
    return "process"


def peak_memory(service: Service) -> int:
    """Return the most memory that the service has ever had, in bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


async def connect(url: str, job_id: str) -> tuple[socket.socket, asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a job's stream over a connection that holds little by itself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    address = urlsplit(url)
    await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"GET /jobs/%s/stream?from_beginning=true HTTP/1.0\r\n\r\n" % job_id.encode())
    await reader.readuntil(b"\r\n\r\n")
    return connection, reader, writer


async def read_slowly(reader: asyncio.StreamReader, until: asyncio.Event) -> tuple[str, int]:
    """Read with pauses until told to read at will; return digest and length of the log."""
    digest, size, rest = hashlib.sha256(), 0, b""
    while chunk := await reader.read(MIB if until.is_set() else 1024):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (line for line in lines if line.startswith(b'data: {"type":"log"')):
            event = json.loads(line[6:])
            data = base64.b64decode(event["base64"]) if "base64" in event else event["data"].encode()
            digest.update(data)
            size += len(data)
        if not until.is_set():
            await asyncio.sleep(0.02)
    return digest.hexdigest(), size


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_slow_readers(start: Starter) -> None:
    service = start()
    async with CiClient(service.url) as client:
        warm_up = await client.create_job({"image": "none", "command": f"yes '{LINE}' | head -n 20000"})
        await finished(client, warm_up)
        before = peak_memory(service)
        job_id = await client.create_job({"image": "none", "command": f"sleep 0.5; yes '{LINE}' | head -n {LINES}"})
        at_will = asyncio.Event()
        connections = [await connect(service.url, job_id) for _ in range(6)]
        connection, reader, _ = connections[0]
        slow = asyncio.create_task(read_slowly(reader, at_will))
        async with asyncio.timeout(120):
            while (job := await client.get_job(job_id))["status"] != "completed":
                await asyncio.sleep(0.1)
        assert (job["conclusion"], job["log_bytes"]) == ("succeeded", SIZE)
        assert not slow.done()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
        at_will.set()
        assert await slow == (job["log_sha256"], SIZE)
        assert peak_memory(service) - before < MOST_GROWTH
        assert await asyncio.to_thread(service.stop) == 0, "those that never read hold up nothing"
        assert not any("Traceback" in line for line in service.said)
        for _, _, writer in connections:
            writer.transport.abort()
