"""The self-test's reader by plain HTTP, where servers and their database come and go."""

import asyncio
from random import Random

import httpx
import pytest

from ci_selftest.jobs.readers import Reading, read_with_cuts

COMPLETED = {"job_id": "1", "status": "completed", "conclusion": "failed", "exit_code": 3}


async def test_a_verdict_that_cannot_be_had_at_first_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = httpx.AsyncClient

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith("/stream"):
            return httpx.Response(204)
        return httpx.Response(503) if asked.count("/jobs/1") == 1 else httpx.Response(200, json=COMPLETED)

    def client(**more: object) -> httpx.AsyncClient:
        return real(transport=httpx.MockTransport(answer))

    monkeypatch.setattr(httpx, "AsyncClient", client)
    reading = Reading("cuts")
    async with asyncio.timeout(30):
        await read_with_cuts(["http://server"], "1", reading, Random(1))
    assert asked == ["/jobs/1/stream", "/jobs/1"] * 2
    assert reading.problem == ""
