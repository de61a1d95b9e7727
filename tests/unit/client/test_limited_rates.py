"""A server that refuses requests for a while: what the client sends again, and for how long."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest

from ci_client import transport as transport_module
from ci_client.errors import ServerError
from ci_client.transport import Connection

LIMITED = {"code": "rate_limited", "detail": "too many"}


class Limiting(httpx.AsyncBaseTransport):
    """Refuses so many requests."""

    def __init__(self) -> None:
        self.refusals = 0
        self.problem = LIMITED
        self.status = 429
        self.retry_after: str | None = "3"
        self.requests: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(await request.aread())
        if not self.refusals:
            return httpx.Response(200, json={})
        self.refusals -= 1
        return httpx.Response(self.status, json=self.problem, headers={"Retry-After": self.retry_after or ""})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which pass at once."""
    pauses: list[float] = []
    at_once = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await at_once(0)

    # Other tasks of the loop sleep, too.
    monkeypatch.setattr(transport_module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": pause}))
    return pauses


@pytest.fixture
def transport() -> Limiting:
    return Limiting()


@pytest.fixture
async def connection(transport: Limiting) -> AsyncIterator[Connection]:
    async with Connection("http://127.0.0.1:1", idle_seconds=1.0) as connection:
        await connection.http.aclose()
        connection.http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1")
        yield connection


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_it_waits_as_long_as_the_server_says(
    transport: Limiting, connection: Connection, slept: list[float], method: str
) -> None:
    """The server refuses before it does anything, so it is safe for every method."""
    transport.refusals = 2
    await connection.ask(method, "/jobs", json={"a": 1})
    assert transport.requests == [b'{"a":1}'] * 3
    assert all(3.0 <= pause <= 4.5 for pause in slept)
    assert len(slept) == 2


@pytest.mark.parametrize(("retry_after", "most"), [("20", 3), ("61", 0), ("soon", 0), (None, 0)])
async def test_it_waits_for_a_minute_at_most(
    transport: Limiting, connection: Connection, slept: list[float], retry_after: str | None, most: int
) -> None:
    transport.refusals, transport.retry_after = 1000, retry_after
    with pytest.raises(ServerError, match="too many"):
        await connection.ask("GET", "/jobs")
    assert len(slept) <= most
    assert sum(slept) <= 60


async def test_a_body_that_can_be_sent_only_once_is_not_sent_again(
    transport: Limiting, connection: Connection, slept: list[float]
) -> None:
    transport.refusals = 1

    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(ServerError, match="too many"):
        await connection.ask("PATCH", "/uploads/1", content=body())
    assert (len(transport.requests), slept) == (1, [])


async def test_no_other_refusal_is_waited_for(transport: Limiting, connection: Connection, slept: list[float]) -> None:
    transport.refusals, transport.problem = 1, {"code": "queue_full", "detail": "full"}
    with pytest.raises(ServerError, match="full"):
        await connection.ask("POST", "/jobs", json={})
    assert slept == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_what_cannot_be_done_at_present_is_sent_again_if_that_is_safe(
    transport: Limiting, connection: Connection, slept: list[float], method: str
) -> None:
    transport.refusals, transport.problem, transport.status = 2, {"code": "unavailable", "detail": "away"}, 503
    headers = {"Idempotency-Key": "one"} if method == "POST" else {}
    await connection.ask(method, "/jobs", json={"a": 1}, headers=headers)
    assert transport.requests == [b'{"a":1}'] * 3
    assert len(slept) == 2


@pytest.mark.parametrize(("method", "retry_after"), [("POST", "3"), ("PATCH", "3"), ("GET", None), ("GET", "11")])
async def test_it_is_not_sent_again_otherwise(
    transport: Limiting, connection: Connection, slept: list[float], method: str, retry_after: str | None
) -> None:
    transport.refusals, transport.problem, transport.status = 1, {"code": "unavailable", "detail": "away"}, 503
    transport.retry_after = retry_after
    with pytest.raises(ServerError, match="away"):
        await connection.ask(method, "/jobs", json={})
    assert slept == []


async def test_it_is_sent_again_for_ten_seconds_at_most(
    transport: Limiting, connection: Connection, slept: list[float]
) -> None:
    transport.refusals, transport.problem, transport.status = 1000, {"code": "unavailable", "detail": "away"}, 503
    with pytest.raises(ServerError, match="away"):
        await connection.ask("GET", "/jobs")
    assert 0 < sum(slept) <= 10
