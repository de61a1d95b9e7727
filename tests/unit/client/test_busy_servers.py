"""A server that does not take a submission for the moment: when it is sent again, and when it is not."""

from pathlib import Path

import pytest

from ci_client.aio import CiClient
from ci_client.errors import ServerError
from tests.helpers.scripted_server import ScriptedServer
from tests.helpers.service import ci

Capture = pytest.CaptureFixture[bytes]


def refusal(code: str = "queue_full", retry_after: str | None = "0", status: int = 429) -> tuple[int, dict, dict]:
    return status, {"code": code, "detail": "busy"}, {} if retry_after is None else {"Retry-After": retry_after}


@pytest.mark.parametrize("code", ["queue_full", "too_many_uploads", "disk_low", "rate_limited"])
async def test_what_was_not_taken_is_sent_again(server: ScriptedServer, project: Path, code: str) -> None:
    server.refusals = [refusal(code), refusal(code)]
    told: list[tuple[str, float]] = []
    progress: list[int] = []
    async with CiClient(server.url, on_busy=lambda error, pause: told.append((error.code, pause))) as client:
        job_id = await client.submit(project, progress=lambda sent, _: progress.append(sent))
    assert list(server.jobs) == [job_id]
    assert told == [(code, 0), (code, 0)]
    assert len(set(server.uploads)) == 1, "each time the whole archive"
    assert progress.count(0) >= 3, "each time from the beginning"


async def test_requests_without_an_upload_too(server: ScriptedServer) -> None:
    for make in (lambda c: c.create_job({"type": "echo"}), lambda c: c.retry_job("x")):
        server.refusals = [refusal()]
        async with CiClient(server.url) as client:
            assert await make(client) in server.jobs


@pytest.mark.parametrize(
    "answer",
    [
        refusal("http_503", "0", 503),  # It may have come while the job was being stored.
        refusal(retry_after=None),
        refusal(retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
        refusal(retry_after="121"),
    ],
)
async def test_what_may_have_been_taken_or_takes_too_long_is_not(
    server: ScriptedServer, answer: tuple[int, dict, dict]
) -> None:
    server.refusals = [answer]
    async with CiClient(server.url) as client:
        with pytest.raises(ServerError, match="busy"):
            await client.create_job({"type": "echo"})
    assert len(server.specs) == 1


async def test_what_may_have_been_taken_is_sent_again_with_its_key(server: ScriptedServer) -> None:
    server.refusals = [refusal("unavailable", "0", 503)]
    async with CiClient(server.url) as client:
        assert await client.create_job({"type": "echo"}) in server.jobs
    assert len(server.specs) == 2


async def test_patience_ends(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("ci_client.submitting.submitter.anyio.sleep", sleep)
    server.refusals = [refusal(retry_after="10") for _ in range(30)]
    async with CiClient(server.url, busy_seconds=60) as client:
        with pytest.raises(ServerError):
            await client.create_job({"type": "echo"})
    assert all(10 <= seconds <= 15 for seconds in slept)
    assert 4 <= len(slept) <= 6
    assert sum(slept) <= 60


def test_the_command_line_says_so(server: ScriptedServer, project: Path, capfdbinary: Capture) -> None:
    server.refusals = [refusal()]
    assert ci(server, "submit", "--detach", project) == 0
    assert b"not accepted yet: busy; trying again in 0 s" in capfdbinary.readouterr().err
    server.refusals = [refusal("disk_low", "600", 503)]
    assert ci(server, "submit", "--detach", project) == 69
    err = capfdbinary.readouterr().err
    assert b"busy" in err
    assert b"try again after 600 s" in err
