"""What is answered where a request is cut off by the end of the server."""

import asyncio
import errno
import json
import os
from types import SimpleNamespace

import pytest
from starlette.types import Message, Receive, Scope, Send

from ci_common.settings import Settings
from ci_server.http.application import EveryRequest, HostCheck
from ci_server.http.exchange import Shutdown
from ci_server.http.protections import CrossOrigin

NO_ORIGINS = CrossOrigin(Settings().cors_origins)


class Request:
    """A request that waits for ever, after its answer's head where `begins` says so."""

    def __init__(self, shutdown: Shutdown, *, begins: bool = False, hosts: HostCheck | None = None) -> None:
        self.waits = asyncio.Event()
        self.sent: list[Message] = []
        self._begins = begins
        app = SimpleNamespace(state=SimpleNamespace(shutdown=shutdown))
        scope: Scope = {"type": "http", "http_version": "1.0", "method": "GET", "path": "/jobs"}
        scope |= {"query_string": b"", "headers": [], "app": app}
        every_request = EveryRequest(self._wait, hosts or HostCheck.of(Settings()), NO_ORIGINS)
        self.task = asyncio.create_task(every_request(scope, self._receive, self._send))

    async def _wait(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        if self._begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        self.waits.set()
        await asyncio.Event().wait()

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def cut_off(shutdown: Shutdown) -> list[Message]:
    """Cancel a request that waits for something; return what has been answered."""
    request = Request(shutdown)
    await request.waits.wait()
    request.task.cancel()
    await request.task
    return request.sent


async def test_a_server_that_waits_no_longer_says_so() -> None:
    shutdown = Shutdown()
    shutdown.start()
    sent = await cut_off(shutdown)
    assert sent[0]["status"] == 503


async def test_any_other_cancellation_stays_one() -> None:
    with pytest.raises(asyncio.CancelledError):
        await cut_off(Shutdown())


async def test_an_error_before_the_application_is_answered_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HostCheck):
        def refusal(self, scope: Scope) -> None:
            raise ValueError("a header that nothing was prepared for")

    caplog.set_level("INFO", "ci_server")
    request = Request(Shutdown(), hosts=Broken.of(Settings()))
    await request.task
    assert request.sent[0]["status"] == 500
    assert (b"content-type", b"application/problem+json") in request.sent[0]["headers"]
    assert "a header that nothing was prepared for" in caplog.text
    assert "GET /jobs 500" in caplog.text


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ci_server.http.exchange.GRACE_SECONDS", 0.0)


@pytest.mark.usefixtures("no_grace")
@pytest.mark.parametrize("when", ["under way", "late"])
async def test_a_request_has_its_time_and_is_told_when_that_is_over(when: str) -> None:
    shutdown = Shutdown()
    if when == "late":
        shutdown.start()
    request = Request(shutdown)
    await request.waits.wait()
    shutdown.start()
    await request.task
    assert request.sent[0]["status"] == 503
    assert request.task.cancelling() == 0


@pytest.mark.usefixtures("no_grace")
async def test_an_answer_that_has_begun_is_only_broken_off() -> None:
    shutdown = Shutdown()
    request = Request(shutdown, begins=True)
    await request.waits.wait()
    shutdown.start()
    await request.task
    assert [message["type"] for message in request.sent] == ["http.response.start"]


@pytest.mark.parametrize(
    ("number", "status", "told"),
    [
        (errno.ENOSPC, 503, "the server's disk cannot take the request: No space left on device"),
        (errno.EDQUOT, 503, "the server's disk cannot take the request: Disk quota exceeded"),
        (errno.EPERM, 503, "the server cannot write to its data directory: Operation not permitted"),
        (errno.EACCES, 503, "the server cannot write to its data directory: Permission denied"),
        (errno.EROFS, 503, "the server cannot write to its data directory: Read-only file system"),
        (errno.EIO, 503, "the server cannot write to its data directory: Input/output error"),
        (errno.EBADF, 500, "the server met an error of its own"),
    ],
)
async def test_a_disk_that_cannot_be_written_to_is_no_bug(number: int, status: int, told: str) -> None:
    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise OSError(number, os.strerror(number), "/data/secret/place")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    app = SimpleNamespace(state=SimpleNamespace(shutdown=Shutdown()))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/submit",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "app": app,
    }
    await EveryRequest(fail, HostCheck.of(Settings()), NO_ORIGINS)(scope, receive, send)
    assert sent[0]["status"] == status
    detail = json.loads(sent[1]["body"])["detail"]
    assert detail.startswith(told)
    assert "secret" not in detail
