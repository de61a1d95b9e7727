"""The door of interpreters that have no httptools."""

import asyncio

import pytest

from ci_server.connections.h11_protocol import FallbackProtocol
from tests.e2e.conftest import Connect
from tests.helpers.http import GET, LAST_GET, exchange, get
from tests.helpers.played_api import StartApi
from tests.helpers.waiting import PATIENCE


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of interpreters without httptools."""
    monkeypatch.setattr("ci_server.connections.serving.Protocol", FallbackProtocol)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET * 3 + LAST_GET, 200),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (get(b"/health", b"X: " + b"x" * 200_000), 400),
        (GET[:-2], 408),
        (LAST_GET.replace(b"localhost", b"evil.example"), 421),
    ],
    ids=["pipelined", "no host", "large headers", "half a request", "another host"],
)
@pytest.mark.usefixtures("fallback", "quick")
async def test_without_httptools(start_api: StartApi, sent: bytes, status: int) -> None:
    api = await start_api()
    answers = await exchange(api.url, sent)
    assert {answer.status for answer in answers} == {status}
    assert len(answers) == sent.count(b"GET ")


@pytest.mark.usefixtures("fallback", "quick")
async def test_readers_without_httptools(start_api: StartApi, connect: Connect) -> None:
    api = await start_api()
    job_id = await api.submit()
    wire = await connect(api.url)
    await wire.send(f"GET /jobs/{job_id}/stream HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await wire.head()
    silent = await connect(api.url)  # Has come later, so its end tells that the reader's time would be over.
    assert await silent.rest() == b""
    await api.controller.start(job_id)
    await api.controller.finish(job_id)
    await asyncio.wait_for(wire.reader.readuntil(b'"complete"'), PATIENCE)
