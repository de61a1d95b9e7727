"""Many readers, one log: whenever they come, and however often they are cut, all hold the same bytes."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from ci_client.aio import CiClient
from ci_client.events import complete_event_of
from ci_common.wire.stream import Event
from tests.helpers.service import Service

NOISE = r"""
echo begin
head -c 70000 /dev/zero | tr '\0' x; echo
printf 'caf\351 \377\376\n'
printf 'nul\0nul\n'
yes 'a short line of output' | head -n {lines}
printf 'naïve ☃ 🎉'
sleep 1
printf ' no newline at the end'
"""


def bytes_of(event: Event) -> bytes:
    return base64.b64decode(event["base64"]) if "base64" in event else event["data"].encode()


@dataclass
class Heard:
    """What a reader has heard."""

    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    complete: Event | None = None

    def take(self, event: Event) -> None:
        if event["type"] == "log":
            data = bytes_of(event)
            self.size += len(data)
            self.digest.update(data)
        elif event["type"] == "complete":
            self.complete = event


async def read(service: Service, job_id: str) -> Heard:
    heard = Heard()
    async with CiClient(service.url) as client:
        async for event in client.stream(job_id):
            heard.take(event)
    return heard


async def read_with_cuts(service: Service, job_id: str, cuts: int) -> Heard:
    """Read the stream as EventSource does, and cut the connection `cuts` times."""
    heard, last_id = Heard(), "0"
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
        for cut in range(cuts + 1):
            async for event_id, event in _events(http, job_id, last_id):
                last_id = event_id or last_id
                heard.take(event)
                if cut < cuts and event["type"] == "log":
                    break
            if heard.complete:
                break
        if heard.complete is None:  # Cut behind the last byte of the log: what is missing now is told by the job.
            heard.complete = complete_event_of((await http.get(f"/jobs/{job_id}")).raise_for_status().json())
    return heard


async def _events(http: httpx.AsyncClient, job_id: str, last_id: str) -> AsyncIterator[tuple[str | None, Event]]:
    headers = {"Last-Event-ID": last_id}
    async with http.stream("GET", f"/jobs/{job_id}/stream", headers=headers) as response:
        event_id = None
        async for line in response.aiter_lines():
            if line.startswith("id: "):
                event_id = line[4:]
            elif line.startswith("data: "):
                yield event_id, json.loads(line[6:])
                event_id = None


@pytest.mark.parametrize("lines", [20_000, pytest.param(8_700_000, id="200MB")])
async def test_all_readers_hold_the_same_bytes(service: Service, shell_image: str, lines: int) -> None:
    async with CiClient(service.url) as client:
        command = NOISE.replace("{lines}", str(lines))
        job_id = await client.create_job({"image": shell_image, "command": command})
        first, second = asyncio.create_task(read(service, job_id)), asyncio.create_task(read(service, job_id))
        cut = asyncio.create_task(read_with_cuts(service, job_id, cuts=10))
        readers = [await first, await second, await cut, await read(service, job_id)]

        served = Heard()
        async for chunk in client.log(job_id):
            served.size += len(chunk)
            served.digest.update(chunk)
        job = await client.get_job(job_id)

    assert job["conclusion"] == "succeeded"
    for heard in (*readers, served):
        assert heard.size == job["log_bytes"]
        assert heard.digest.hexdigest() == job["log_sha256"]
    assert all(heard.complete and heard.complete["log_sha256"] == job["log_sha256"] for heard in readers)
    assert job["log_bytes"] == 6 + 70001 + 8 + 8 + lines * 23 + len("naïve ☃ 🎉".encode()) + 22
